<?php

/**
 * Stand-ins for packages that queue any class of the app inside a job of their own: the same class names, properties and
 * display names in the payload as theirs.
 */

declare(strict_types=1);

namespace Packages {
    use Illuminate\Bus\Queueable;
    use Illuminate\Queue\InteractsWithQueue;

    trait RunsAction
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
    }
}

namespace Lorisleiva\Actions\Decorators {
    use Illuminate\Contracts\Queue\ShouldQueue;

    /** Laravel Actions: the action may name its jobs as it likes. */
    class JobDecorator implements ShouldQueue
    {
        use \Packages\RunsAction;

        public function displayName(): string
        {
            $action = app($this->actionClass);

            return method_exists($action, 'getJobDisplayName') ? $action->getJobDisplayName(...$this->parameters) : $this->actionClass;
        }
    }
}

namespace Spatie\QueueableAction {
    use Illuminate\Contracts\Queue\ShouldQueue;

    /** Queueable actions: the job shows the action's class. */
    class ActionJob implements ShouldQueue
    {
        use \Packages\RunsAction;

        public function displayName(): string
        {
            return $this->actionClass;
        }
    }
}
