"""moto's SQS, nearer to what SQS documents, and with a back door for tests.

moto keeps a receipt handle valid for ever and lets two calls at once have the same message. Here a handle is good until
the message is received again, a message that is visible cannot be hidden by it, and a call has its messages alone.

The back door: GET /test/QUEUE has all messages as JSON; POST /test/QUEUE with {"do": WHAT} makes delayed ones due
("due"), those in flight visible ("expire"), takes them from whoever has them ("drop"), or sets how often they were received
({"do": "count", "to": N}). GET /test has the names of all queues.
"""

import argparse
import json
import logging
import threading
import time

from moto.server import DomainDispatcherApplication, create_backend_app
from moto.sqs import models
from moto.sqs.exceptions import QueueDoesNotExist, ReceiptHandleIsInvalid
from moto.sqs.utils import generate_receipt_handle
from werkzeug.serving import WSGIRequestHandler, run_simple

ONE = threading.RLock()
BATCH = threading.local()
ACCOUNT, REGION = "123456789012", "us-east-1"

receive = models.SQSBackend.receive_message
mark = models.Message.mark_received
hide = models.SQSBackend.change_message_visibility
hide_batch = models.SQSBackend.change_message_visibility_batch
find = models.SQSBackend.get_queue


def receive_alone(self, queue_name, count, wait_seconds_timeout, visibility_timeout, message_attribute_names=None):
    end = time.monotonic() + wait_seconds_timeout
    queue = self.get_queue(queue_name)
    while True:
        with ONE:
            found = receive(self, queue_name, count, 0, visibility_timeout, message_attribute_names)
        left = end - time.monotonic()
        if found or left <= 0:
            return found
        # Nobody is told when a message becomes visible.
        with queue._messages_lock:
            queue._messages_lock.wait_for(lambda: queue.messages, timeout=min(left, 0.1))
        if queue.messages:
            # Of a message group that is held.
            time.sleep(0.01)


def hide_in_flight(self, queue_name, receipt_handle, visibility_timeout):
    with ONE:
        queue = self.get_queue(queue_name)
        found = next((m for m in queue._messages if m.receipt_handle == receipt_handle and not m.visible), None)
        if found is None:
            raise ReceiptHandleIsInvalid()
        hide(self, queue_name, receipt_handle, visibility_timeout)
        # Whoever hides one message by itself lets go of it.
        found.released = not getattr(BATCH, "under_way", False)
        with queue._messages_lock:
            queue._messages_lock.notify_all()


def hide_many(self, queue_name, entries):
    BATCH.under_way = True
    try:
        return hide_batch(self, queue_name, entries)
    finally:
        BATCH.under_way = False


def delete_latest(self, receipt_handle):
    with ONE:
        found = next((m for m in self._messages if m.receipt_handle == receipt_handle), None)
        if found is not None:
            self._messages.remove(found)
            self.pending_messages.discard(found)
            self.deleted_messages.update(found.all_receipt_handles)
            return
        if receipt_handle in self.deleted_messages:
            return
        stale = any(receipt_handle in m._old_receipt_handles for m in self._messages)
        if self.fifo_queue or not stale:
            raise ReceiptHandleIsInvalid()


def mark_received(self, visibility_timeout=None):
    self.released = False
    mark(self, visibility_timeout)


def now_ms():
    return time.time() * 1000


def visible_messages(self):
    now = now_ms()
    return [m for m in self._messages if now > m.visible_at and now >= m.delayed_until]


models.SQSBackend.receive_message = receive_alone
models.SQSBackend.change_message_visibility = hide_in_flight
models.SQSBackend.change_message_visibility_batch = hide_many
models.Queue.delete_message = delete_latest
# What takes moto a hundred times as long as the rest: none of these messages lives for days.
models.Queue.messages = property(visible_messages)
models.SQSBackend.is_message_valid_based_on_retention_period = lambda self, queue_name, message: True
models.unix_time_millis = now_ms
models.Message.mark_received = mark_received
models.Message.released = False


def create_missing(seconds):
    def get_queue(self, queue_name):
        with ONE:
            try:
                return find(self, queue_name)
            except QueueDoesNotExist:
                fifo = {"FifoQueue": "true"} if queue_name.endswith(".fifo") else {}
                return self.create_queue(queue_name, VisibilityTimeout=seconds, **fifo)

    models.SQSBackend.get_queue = get_queue


def shown(message):
    now = now_ms()
    later = message.delayed or (not message.visible and message.released)
    state = "delayed" if later else "ready" if message.visible else "reserved"
    due = message.delayed_until if message.delayed else message.visible_at
    return {
        "state": state,
        "body": message.body,
        "attempts": message.approximate_receive_count,
        "due": int((due or now) / 1000),
        "group": message.group_id,
    }


def turn(queue, order):
    held = [m for m in queue._messages if not m.visible and not m.released]
    match order["do"]:
        case "due":
            for message in queue._messages:
                message.delayed_until = 0.0
                if message.released:
                    message.visible_at = 0.0
        case "expire":
            for message in held:
                message.visible_at = 0.0
        case "drop":
            for message in held:
                message._old_receipt_handles.append(message.receipt_handle)
                message.receipt_handle = generate_receipt_handle()
        case "count":
            for message in queue._messages:
                message.approximate_receive_count = order["to"]
    with queue._messages_lock:
        queue._messages_lock.notify_all()


def with_back_door(app):
    def answer(environ, start_response):
        path = environ["PATH_INFO"]
        if not path.startswith("/test"):
            return app(environ, start_response)
        queues = models.sqs_backends[ACCOUNT][REGION].queues
        name = path[len("/test/") :]
        with ONE:
            if environ["REQUEST_METHOD"] == "POST":
                body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                if name in queues:
                    turn(queues[name], json.loads(body))
            if name == "":
                result = list(queues)
            else:
                result = [shown(m) for m in queues[name]._messages] if name in queues else []
        body = json.dumps(result).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return answer


class Handler(WSGIRequestHandler):
    # As SQS does: a connection is for many requests.
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_request(self, *args):
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--create", type=int)
    arguments = parser.parse_args()
    if arguments.create is not None:
        create_missing(arguments.create)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = with_back_door(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", arguments.port, app, threaded=True, request_handler=Handler)


if __name__ == "__main__":
    main()
