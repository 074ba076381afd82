<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;
use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;
use Illuminate\Queue\SerializesModels;
use Throwable;

/** A job that writes to the journal when it starts, how it ends, and when its `failed()` is called. */
abstract class Recorded implements ShouldQueue
{
    use InteractsWithQueue;
    use Queueable;
    use SerializesModels;

    /** @var int|null */
    public $tries;

    /** @var int|null */
    public $maxExceptions;

    /** @var int|array<int>|null */
    public $backoff;

    /** @var int|null */
    public $timeout;

    /** @var int|null */
    public $retryUntil;

    /** @var bool */
    public $failOnTimeout = false;

    /** @var string|null a name of the harness's own */
    public $tag;

    /**
     * Sets public properties: `(new Throws)->with(['tries' => 3])`.
     *
     * @param array<string, mixed> $properties
     */
    public function with(array $properties): static
    {
        foreach ($properties as $name => $value) {
            $this->$name = $value;
        }

        return $this;
    }

    public function handle(): void
    {
        $facts = ['class' => class_basename($this), 'tag' => $this->tag] + Journal::about($this->job);
        Journal::write('start', $facts + ['sha1' => sha1($this->job->getRawBody())]);
        try {
            $this->act();
        } catch (Throwable $e) {
            Journal::write('threw', $facts);
            throw $e;
        }
        Journal::write('end', $facts);
    }

    public function failed(?Throwable $e): void
    {
        // The job instance is set on the command only while it runs.
        Journal::write('failed', [
            'class' => class_basename($this),
            'tag' => $this->tag,
            'exception' => $e === null ? null : get_class($e),
            'message' => $e?->getMessage(),
        ]);
    }

    abstract protected function act(): void;
}
