<?php

declare(strict_types=1);

namespace App\Mail;

use Illuminate\Mail\Mailable;

/** Is never sent: it says where its job is to run. That it has a method `priority`, which sets one, is Laravel's doing. */
class Letter extends Mailable
{
    /** @var int MB, read by kqueue; unknown to Laravel */
    public $maxMemory = 200;
}
