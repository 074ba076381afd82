<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Contracts\Foundation\Application;
use Laravel\Horizon\Contracts\HorizonCommandQueue;
use Laravel\Horizon\Contracts\JobRepository;
use Laravel\Horizon\Contracts\MasterSupervisorRepository;
use Laravel\Horizon\Contracts\SupervisorRepository;
use Laravel\Horizon\Events\MasterSupervisorLooped;
use Laravel\Horizon\Events\SupervisorLooped;
use Laravel\Horizon\MasterSupervisor;
use Laravel\Horizon\RedisQueue;
use Laravel\Horizon\Supervisor;
use Laravel\Horizon\SupervisorCommands;
use Laravel\Horizon\SupervisorOptions;
use Laravel\Horizon\WaitTimeCalculator;
use Throwable;

/**
 * Stands in for Horizon's master where kqueue works Horizon's queue: what Horizon does once a second in `php artisan
 * horizon` is done here, through its own repositories, events and listeners. Runs no job.
 */
final class Horizon
{
    /** Seconds after which this process makes way for a fresh one. */
    private const AGE = 3600;

    /** Commands of Horizon's command queue that are processed; they become requests to the runtime. */
    private const COMMANDS = [
        SupervisorCommands\Pause::class,
        SupervisorCommands\ContinueWorking::class,
        SupervisorCommands\Restart::class,
        SupervisorCommands\Terminate::class,
    ];

    private Application $app;

    private ?HorizonMaster $master = null;

    private HorizonQueues $queues;

    /** @var array<string, true> requests to Horizon that have not been sent to the runtime yet */
    private array $asked = [];

    private bool $leaves = false;

    public function __construct(private Wire $wire, private Boot $boot)
    {
        $this->app = $boot->app;
    }

    /**
     * What the runtime must know of the app's Horizon: null where the queue is not Horizon's.
     *
     * @return array{lacks: string|null}|null
     */
    public static function describe(object $queue): ?array
    {
        if (! $queue instanceof RedisQueue) {
            return null;
        }

        foreach ([
            JobRepository::class, MasterSupervisorRepository::class, SupervisorRepository::class, HorizonCommandQueue::class,
            MasterSupervisor::class, Supervisor::class, SupervisorOptions::class, MasterSupervisorLooped::class, SupervisorLooped::class,
        ] as $needed) {
            if (! class_exists($needed) && ! interface_exists($needed)) {
                return ['lacks' => $needed];
            }
        }

        return ['lacks' => null];
    }

    public function run(): int
    {
        // They extend Horizon's classes, which no other process needs.
        require_once __DIR__.'/HorizonOrders.php';
        require_once __DIR__.'/HorizonMaster.php';
        require_once __DIR__.'/HorizonQueues.php';
        require_once __DIR__.'/HorizonSupervisor.php';

        $this->queues = new HorizonQueues($this->app['queue']);
        // Jobs that kqueue has reserved and not begun count as waiting, too.
        $this->app->extend(WaitTimeCalculator::class, function (WaitTimeCalculator $calculator): WaitTimeCalculator {
            $calculator->queue = $this->queues;

            return $calculator;
        });
        $this->listen();
        $this->wire->send(Wire::HORIZON);

        for ($until = time() + self::AGE; ! $this->leaves && time() < $until;) {
            $frame = $this->wire->receive(30.0);
            $this->tell();

            if ($frame === null) {
                continue;
            }

            if ($frame === false || $frame[0] === Wire::STOP) {
                break;
            }

            if ($frame[0] === Wire::STANDING && ! $this->round($frame[1])) {
                // A fresh process has fresh connections.
                return 1;
            }

            $this->tell();
        }

        $this->forget();

        return 0;
    }

    private function tell(): void
    {
        foreach (array_keys($this->asked) as $ask) {
            $this->wire->send(Wire::HORIZON, ['ask' => $ask]);
            unset($this->asked[$ask]);
        }
    }

    /** Horizon's commands send these signals to the process that its records name: this one. */
    private function listen(): void
    {
        if (! function_exists('pcntl_signal')) {
            fwrite(STDERR, "PHP has no pcntl: horizon:pause, horizon:continue and horizon:terminate do not reach kqueue\n");

            return;
        }

        pcntl_async_signals(true);

        foreach ([SIGUSR2 => 'pause', SIGCONT => 'continue', SIGUSR1 => 'restart', SIGTERM => 'terminate'] as $signal => $ask) {
            pcntl_signal($signal, fn () => $this->asked[$ask] = true);
        }
    }

    /** @param array<string, mixed> $standing */
    private function round(array $standing): bool
    {
        $error = null;
        // A signal during the round could interrupt a call to Redis.
        $signals = function_exists('pcntl_sigprocmask') ? [SIGUSR1, SIGUSR2, SIGCONT, SIGTERM] : [];
        $signals && pcntl_sigprocmask(SIG_BLOCK, $signals);

        try {
            $this->loop($standing);
        } catch (Throwable $e) {
            $error = $e::class.': '.$e->getMessage();
            $this->app[ExceptionHandler::class]->report($e);
        } finally {
            $signals && pcntl_sigprocmask(SIG_UNBLOCK, $signals);
        }

        return $this->wire->send(Wire::HORIZON, $error === null ? [] : ['error' => substr($error, 0, 500)]) && $error === null;
    }

    /**
     * One turn of the loops of Horizon's master and of its supervisor, in their order.
     *
     * @param array<string, mixed> $standing
     */
    private function loop(array $standing): void
    {
        $master = $this->master ??= $this->master((string) $standing['app']);
        $supervisor = $master->supervisors->first();

        foreach ([$master, $supervisor] as $one) {
            foreach ($this->app[HorizonCommandQueue::class]->pending($one === $master ? 'master:'.$one->name : $one->name) as $command) {
                // Other commands start or scale processes, which is up to the runtime.
                in_array($command->command, self::COMMANDS, true) && $this->app->make($command->command)->process($one, $command->options);
            }

            $one->working = ! $standing['paused'];
        }

        $supervisor->stands($standing);
        $this->queues->waiting = [$this->boot->connection() => $standing['waiting'] ?? []];
        $this->app[MasterSupervisorRepository::class]->update($master);
        $this->app[SupervisorRepository::class]->update($supervisor);
        $this->app['events']->dispatch(new MasterSupervisorLooped($master));
        $this->app['events']->dispatch(new SupervisorLooped($supervisor));
    }

    /** Makes the master, with a name that Horizon's commands attribute to this machine. */
    private function master(string $app): HorizonMaster
    {
        $name = MasterSupervisor::basename().'-kqueue-'.$app;
        $environment = $this->app['config']['horizon.env'] ?? $this->app['config']['app.env'];
        $ask = function (string $what): void {
            $what === HorizonMaster::LEAVE ? $this->leaves = true : $this->asked[$what] = true;
        };
        $supervisor = new HorizonSupervisor(new SupervisorOptions($name.':'.$app, $this->boot->connection()), $ask);
        $this->app[HorizonCommandQueue::class]->flush('master:'.$name);
        $this->app[HorizonCommandQueue::class]->flush($supervisor->name);

        return new HorizonMaster($name, $environment, $supervisor, $ask);
    }

    private function forget(): void
    {
        try {
            $this->master && $this->app[MasterSupervisorRepository::class]->forget($this->master->name);
        } catch (Throwable) {
            // The records expire by themselves.
        }
    }
}
