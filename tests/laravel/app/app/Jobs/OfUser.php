<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Models\User;
use Illuminate\Contracts\Queue\ShouldBeUnique;

/** A job of a model, one of each. */
class OfUser extends Recorded implements ShouldBeUnique
{
    /** @var int */
    public $uniqueFor = 600;

    /** @var string|null set by Laravel 13.24 and later */
    public $uniqueLockOwner;

    public function __construct(public User $user)
    {
    }

    public function uniqueId(): string
    {
        return (string) $this->user->id;
    }

    protected function act(): void
    {
    }
}
