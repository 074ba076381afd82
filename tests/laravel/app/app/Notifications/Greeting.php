<?php

declare(strict_types=1);

namespace App\Notifications;

use App\Mail\Welcome;
use App\Models\User;
use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Notifications\Notification;

/** A notification that is queued, by two channels. */
class Greeting extends Notification implements ShouldQueue
{
    use Queueable;

    /** @return list<string> */
    public function via(User $user): array
    {
        return ['mail', 'database'];
    }

    public function toMail(User $user): Welcome
    {
        return new Welcome($user);
    }

    /** @return array<string, string> */
    public function toArray(User $user): array
    {
        return ['greeting' => $user->name];
    }
}
