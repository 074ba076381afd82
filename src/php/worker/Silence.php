<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Queue\Console\WorkCommand;
use Illuminate\Queue\Events\JobProcessed;
use Illuminate\Queue\Events\JobProcessing;

/**
 * Removes the listeners by which `queue:work` writes a line before and after each job: the output is discarded, and
 * writing it costs more than an empty job. Those for failed jobs do more, and stay.
 */
final class Silence
{
    public static function over(Dispatcher $events): void
    {
        // Laravel 8 wraps listeners in a closure of the dispatcher; later versions keep them as they are.
        $isOutput = static function (mixed $listener): bool {
            if (! $listener instanceof \Closure) {
                return false;
            }

            $function = new \ReflectionFunction($listener);
            $inner = $function->getStaticVariables()['listener'] ?? null;
            $function = $inner instanceof \Closure ? new \ReflectionFunction($inner) : $function;

            return $function->getClosureScopeClass()?->getName() === WorkCommand::class;
        };

        (function () use ($isOutput): void {
            foreach ([JobProcessing::class, JobProcessed::class] as $event) {
                if (is_array($this->listeners[$event] ?? null)) {
                    $this->listeners[$event] = array_filter($this->listeners[$event], static fn ($listener) => ! $isOutput($listener));

                    if ($this->listeners[$event] === []) {
                        unset($this->listeners[$event]);
                    }
                }
            }
        })->call($events);
    }
}
