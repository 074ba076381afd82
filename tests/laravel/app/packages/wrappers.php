<?php

/**
 * Stand-ins for packages that queue any class of the app inside a job of their own: the same class names, properties and
 * display names in the payload as theirs.
 */

declare(strict_types=1);

namespace Lorisleiva\Actions\Decorators {
    use Illuminate\Bus\Queueable;
    use Illuminate\Contracts\Queue\ShouldQueue;
    use Illuminate\Queue\InteractsWithQueue;

    /** Laravel Actions: the action may name its jobs as it likes. */
    class JobDecorator implements ShouldQueue
    {
        use InteractsWithQueue;
        use Queueable;

        /** @var string */
        protected $actionClass;

        /** @var array<mixed> */
        protected $parameters;

        public function __construct(string $actionClass, mixed ...$parameters)
        {
            $this->actionClass = $actionClass;
            $this->parameters = $parameters;
        }

        public function handle(): void
        {
            app($this->actionClass)->asJob($this->job, ...$this->parameters);
        }

        public function displayName(): string
        {
            $action = app($this->actionClass);

            return method_exists($action, 'getJobDisplayName') ? $action->getJobDisplayName(...$this->parameters) : $this->actionClass;
        }
    }
}

namespace Spatie\QueueableAction {
    use Illuminate\Bus\Queueable;
    use Illuminate\Contracts\Queue\ShouldQueue;
    use Illuminate\Queue\InteractsWithQueue;

    /** Queueable actions: the job shows the action's class. */
    class ActionJob implements ShouldQueue
    {
        use InteractsWithQueue;
        use Queueable;

        /** @var string */
        protected $actionClass;

        /** @var array<mixed> */
        protected $parameters;

        public function __construct(string $actionClass, mixed ...$parameters)
        {
            $this->actionClass = $actionClass;
            $this->parameters = $parameters;
        }

        public function handle(): void
        {
            app($this->actionClass)->asJob($this->job, ...$this->parameters);
        }

        public function displayName(): string
        {
            return $this->actionClass;
        }
    }
}
