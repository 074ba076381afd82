<?php

declare(strict_types=1);

namespace App\Models;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Notifications\Notifiable;

class User extends Model
{
    use Notifiable;

    /** @var bool */
    public $timestamps = false;

    /** @var array<string> */
    protected $guarded = [];

    public static function named(string $name): self
    {
        return self::create(['name' => $name, 'email' => "{$name}@example.com"]);
    }
}
