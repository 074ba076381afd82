<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Journal;
use Illuminate\Contracts\Queue\ShouldBeUnique;
use RuntimeException;

/** One at a time: does nothing, throws, ends its process, or tries to dispatch another of its kind while it runs. */
class Unique extends Recorded implements ShouldBeUnique
{
    /** @var int */
    public $uniqueFor = 600;

    /** @var string|null set by Laravel 13.24 and later */
    public $uniqueLockOwner;

    public function __construct(public string $how = 'ok')
    {
    }

    public function uniqueId(): string
    {
        return 'one';
    }

    protected function act(): void
    {
        if ($this->how === 'throw') {
            throw new RuntimeException('thrown on purpose');
        }
        if ($this->how === 'again') {
            Journal::write('again');
            dispatch((new static())->with(['tag' => 'second']));
        }
        $this->how === 'exit' && exit(0);
    }
}
