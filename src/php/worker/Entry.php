<?php

declare(strict_types=1);

namespace Kqueue\Worker;

use Illuminate\Container\Container;
use Illuminate\Contracts\Foundation\Application;
use PhpToken;

/**
 * Runs the app's own `artisan` up to where it handles the command: a umask, constants and settings made there are part
 * of the app.
 */
final class Entry
{
    private const HANDLERS = ['handle', 'handleCommand'];

    /** Why the file could not be followed, if so. */
    public ?string $unfollowed = null;

    /** Whether the statement that handles the command makes the application too. */
    private bool $makes = false;

    public function __construct(private string $path)
    {
    }

    public function application(): Application
    {
        $code = $this->beginning();

        if ($code !== null) {
            try {
                $made = self::evaluate($code, $GLOBALS['argv'] ?? [], $GLOBALS['argc'] ?? 0);
            } catch (\ParseError $error) {
                // The cut code does not compile, so none of it has run; unless the error is in another file of the app.
                if (! str_contains($error->getFile(), "eval()'d code")) {
                    throw $error;
                }

                $made = null;
                $this->unfollowed = "the part before it handles the command does not compile on its own ({$error->getMessage()})";
            }

            if ($made !== null) {
                foreach ($made as $name => $value) {
                    $GLOBALS[$name] ??= $value;
                }

                foreach ([$made['app'] ?? null, ...array_values($made), class_exists(Container::class) ? Container::getInstance() : null] as $app) {
                    if ($app instanceof Application) {
                        return $app;
                    }
                }

                // Laravel 11 makes the application in the statement that handles the command.
                $this->unfollowed = $this->makes ? null : 'it does not create the application before it handles the command';
            }
        }

        return $this->ordinary();
    }

    /** Makes the application as the stock `artisan` of every Laravel version does. */
    private function ordinary(): Application
    {
        defined('LARAVEL_START') || define('LARAVEL_START', microtime(true));

        if (is_file($this->path.'/vendor/autoload.php')) {
            require_once $this->path.'/vendor/autoload.php';
        }

        $app = require $this->path.'/bootstrap/app.php';

        if (! $app instanceof Application) {
            throw new \RuntimeException($this->path.'/bootstrap/app.php did not return a Laravel application');
        }

        return $app;
    }

    /** All statements before the one that handles the command; null if there is none. */
    private function beginning(): ?string
    {
        $file = $this->path.'/artisan';
        $source = @file_get_contents($file);

        if ($source === false || trim($source) === '') {
            $this->unfollowed = 'it cannot be read, or is empty';

            return null;
        }

        if (! class_exists(PhpToken::class)) {
            $this->unfollowed = 'PHP has no tokenizer extension';

            return null;
        }

        $code = $statement = '';
        $depth = 0;
        $last = null;

        foreach (PhpToken::tokenize($source) as $token) {
            if ($token->is([T_OPEN_TAG, T_INLINE_HTML])) {
                // The shebang line and PHP's open tag.
                continue;
            }

            if ($token->is(T_CLOSE_TAG)) {
                break;
            }

            $statement .= match ($token->id) {
                T_DIR => var_export($this->path, true),
                T_FILE => var_export($file, true),
                default => $token->text,
            };

            if ($token->is([T_WHITESPACE, T_COMMENT, T_DOC_COMMENT])) {
                continue;
            }

            if ($token->is(self::HANDLERS) && $last !== null && $last->is([T_OBJECT_OPERATOR, T_NULLSAFE_OBJECT_OPERATOR])) {
                $this->makes = str_contains($statement, 'bootstrap/app');

                return $code;
            }

            $last = $token;
            $depth += match (true) {
                $token->is(['{', '(', '[', T_CURLY_OPEN, T_DOLLAR_OPEN_CURLY_BRACES, T_ATTRIBUTE]) => 1,
                $token->is(['}', ')', ']']) => -1,
                default => 0,
            };

            if ($depth === 0 && $token->is([';', '}'])) {
                $code .= $statement;
                $statement = '';
            }
        }

        $this->unfollowed = 'it does not handle the command through the kernel\'s `handle` or the application\'s `handleCommand`';

        return null;
    }

    /**
     * @param list<string> $argv
     * @return array<string, mixed> the variables that it has set
     */
    private static function evaluate(string $code, array $argv, int $argc): array
    {
        return (static function () use ($argv, $argc): array {
            eval(func_get_arg(0));

            return get_defined_vars();
        })($code);
    }
}
