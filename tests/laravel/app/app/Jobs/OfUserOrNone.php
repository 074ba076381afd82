<?php

declare(strict_types=1);

namespace App\Jobs;

/** A job of a model that is not missed when the model is gone. */
class OfUserOrNone extends OfUser
{
    /** @var bool */
    public $deleteWhenMissingModels = true;
}
