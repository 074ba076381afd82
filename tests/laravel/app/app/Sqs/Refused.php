<?php

declare(strict_types=1);

namespace App\Sqs;

/** SQS did not do what it was asked. */
final class Refused extends \RuntimeException
{
}
