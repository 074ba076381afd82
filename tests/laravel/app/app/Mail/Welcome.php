<?php

declare(strict_types=1);

namespace App\Mail;

use App\Models\User;
use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Mail\Mailable;
use Illuminate\Queue\SerializesModels;

/** A mail that is queued. */
class Welcome extends Mailable implements ShouldQueue
{
    use Queueable;
    use SerializesModels;

    /** @var int */
    public $tries = 3;

    /** @var int */
    public $timeout = 35;

    public function __construct(public User $user)
    {
    }

    public function build(): self
    {
        return $this->to($this->user->email)->subject('Welcome')->html("Welcome, {$this->user->name}");
    }
}
