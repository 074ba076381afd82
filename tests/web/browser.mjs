// Every page at both doors, in two sizes, dark and light: that it is whole, fits, breaks no rule of its own policy, can be
// used by keys and by a screen reader, and keeps itself up to date. Called by tests/web/run.
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';

const { TOKEN, HOST_DOOR, APP_DOOR, SHOTS, PICTURES, SEEDED, TOOLS, DISPATCH, PROFILE } = process.env;
const require = createRequire(`${TOOLS}/`);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

let passed = 0;
let failed = 0;
const check = (what, ok, why = '') => {
  if (ok) { passed++; } else { failed++; console.log(`FAILED: ${what} ${why}`); }
};
const dispatch = (...jobs) => {
  const { status, stderr } = spawnSync('php', [DISPATCH, ...jobs], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`dispatch: ${stderr}`);
};

// The policy of the pages forbids what Playwright's own waitForFunction does: to evaluate a string.
const becomes = async (page, seen, told) => {
  for (const end = Date.now() + 60_000; Date.now() < end; await page.waitForTimeout(100)) {
    if (await page.evaluate(seen, told)) return true;
  }
  return false;
};

const doors = [
  { name: 'host', url: `${HOST_DOOR}/app/shop/`, headers: { Authorization: `Basic ${Buffer.from(`anna:${TOKEN}`).toString('base64')}` }, root: HOST_DOOR },
  { name: 'app', url: APP_DOOR, headers: { 'X-User': 'operator' } },
];
const sizes = [{ name: 'desk', width: 1280, height: 900 }, { name: 'phone', width: 390, height: 844 }];

const link = (door, path) => (path === '' ? door.url : `${door.url.replace(/\/$/, '')}/${path}`);
const pages = (door) => [
  ...(door.root ? [['apps', `${door.root}/`]] : []),
  ['overview', link(door, '')],
  ['overview-24h', link(door, '?span=24h').replace('/?', door.root ? '/?' : '?')],
  ['jobs', link(door, 'jobs')],
  ['jobs-failed', link(door, 'jobs?state=failed')],
  ['jobs-running', link(door, 'jobs?state=running')],
  ['jobs-waiting', link(door, 'jobs?state=waiting')],
  ['jobs-search', link(door, 'jobs?class=SyncStock&text=warehouse&state=failed')],
  ['classes', link(door, 'classes?sort=memory')],
  ['class', link(door, 'class?name=App%5CJobs%5CResizeImage')],
  ['queue', link(door, 'queue?name=default')],
  ['events', link(door, 'events?span=24h')],
];

rmSync(PROFILE, { recursive: true, force: true });
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

const open = async (door, size, colorScheme, more = {}) => {
  const context = await browser.newContext({ viewport: size, colorScheme, extraHTTPHeaders: door.headers, reducedMotion: 'reduce', ...more });
  const page = await context.newPage();
  page.complaints = [];
  page.on('console', (message) => { if (message.type() === 'error') page.complaints.push(message.text()); });
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  return page;
};

const look = async (page, where, url, full) => {
  const answer = await page.goto(url, { waitUntil: 'load' });
  check(`${where}: 200`, answer.status() === 200, `${url} ${answer.status()}`);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  check(`${where}: no wider than the window`, wide <= 0, `${wide} px too wide`);
  await page.screenshot({ path: `${SHOTS}/${where}.png`, fullPage: full });
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }));
  const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  const told = serious.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary.slice(0, 200)}`).join(' | ')}`);
  check(`${where}: axe-core finds nothing serious`, serious.length === 0, told.join('\n'));
  check(`${where}: the browser complains of nothing`, page.complaints.length === 0, page.complaints.join('; '));
  page.complaints.length = 0;
};

try {
  for (const door of doors) {
    for (const size of sizes) {
      for (const scheme of ['light', 'dark']) {
        const page = await open(door, size, scheme);
        for (const [name, url] of pages(door)) await look(page, `${door.name}-${name}-${size.name}-${scheme}`, url, true);
        // A job's page: of one that failed, as somebody gets there.
        await page.goto(link(door, 'jobs?state=failed'));
        await Promise.all([page.waitForNavigation(), page.locator('#job-list tbody th a').first().click()]);
        await look(page, `${door.name}-job-${size.name}-${scheme}`, page.url(), true);
        await page.context().close();
      }
    }

    // It keeps itself up to date, until it is told not to.
    const page = await open(door, sizes[0], 'light');
    await page.goto(link(door, ''));
    const before = await page.evaluate(() => document.querySelector('#tiles').innerText);
    dispatch('SendReceipt=40');
    const changed = await becomes(page, (text) => document.querySelector('#tiles').innerText !== text, before);
    check(`${door.name}: the page changes by itself`, changed);
    await page.locator('button.live').click();
    check(`${door.name}: the button says that it is paused`, (await page.locator('button.live').getAttribute('aria-pressed')) === 'false');
    const stopped = await page.evaluate(() => document.body.dataset.updated);
    dispatch('SendReceipt=40');
    await page.locator('button.live').click();
    const goes = await becomes(page, (at) => document.body.dataset.updated !== at, stopped);
    check(`${door.name}: and goes on`, goes);

    // By keys alone: the first stop leads past the navigation, and every stop can be seen.
    await page.goto(link(door, 'jobs'));
    await page.keyboard.press('Tab');
    check(`${door.name}: the first stop is the skip link`, await page.evaluate(() => document.activeElement.matches('.skip')));
    await page.keyboard.press('Enter');
    check(`${door.name}: it leads to the content`, await page.evaluate(() => document.activeElement.id === 'main'));
    await page.keyboard.press('Tab');
    check(`${door.name}: the focus is seen`, await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle !== 'none'));

    // Search, by the form.
    await page.goto(link(door, 'jobs'));
    await page.getByLabel('Class').fill('SyncStock');
    await Promise.all([page.waitForNavigation(), page.getByRole('button', { name: 'Search' }).click()]);
    const rows = await page.locator('#job-list tbody tr').allInnerTexts();
    check(`${door.name}: the search finds its class alone`, rows.length > 0 && rows.every((row) => row.includes('SyncStock')), rows.slice(0, 2).join());
    await page.getByRole('link', { name: 'Next page' }).click();
    await page.waitForURL(/after=/);
    check(`${door.name}: there is a next page`, (await page.locator('#job-list tbody tr').count()) > 0);
    await page.context().close();

    // What can be done, by forms, without any script.
    const acting = await open(door, sizes[0], 'light', { javaScriptEnabled: false });
    const press = async (scope, name) => {
      await Promise.all([acting.waitForNavigation(), scope.getByRole('button', { name, exact: true }).click()]);
      return (await acting.locator('main').innerText()).replace(/\s+/g, ' ');
    };
    await acting.goto(link(door, 'queue?name=mail'));
    const paused = await press(acting.locator('#queue-acts'), 'Pause');
    check(`${door.name}: a queue is paused`, paused.includes('Done') && paused.includes('paused queue mail'), paused);
    await Promise.all([acting.waitForNavigation(), acting.getByRole('link', { name: 'Back' }).click()]);
    check(`${door.name}: back on its page`, acting.url().endsWith('queue?name=mail'), acting.url());
    // The host's door may show what it asked a moment ago.
    const says = async (where, text) => {
      for (const end = Date.now() + 60_000; Date.now() < end; await acting.waitForTimeout(200)) {
        if ((await acting.locator(where).allInnerTexts()).join().includes(text)) return true;
        await acting.goto(acting.url());
      }
      return false;
    };
    check(`${door.name}: it says who has paused it`, await says('#queue-state', 'paused by '));
    const resumed = await press(acting.locator('#queue-acts'), 'Resume');
    check(`${door.name}: and goes on`, resumed.includes('resumed queue mail'), resumed);
    // One that has failed may run again by now.
    const failure = async () => {
      for (let row = 0; row < 10; row++) {
        await acting.goto(link(door, 'jobs?state=failed&class=LeaksMemory'));
        await acting.goto(new URL(await acting.locator('#job-list tbody th a').nth(row).getAttribute('href'), acting.url()).href);
        if ((await acting.locator('#job-head form.act').count()) === 2) return;
      }
    };
    await failure();
    const retried = await press(acting.locator('#job-head'), 'Retry');
    check(`${door.name}: a failed job is retried`, retried.includes('retried 1 of 1 failed jobs'), retried);
    await failure();
    const forgotten = await press(acting.locator('#job-head'), 'Forget');
    check(`${door.name}: a failed job is forgotten`, forgotten.includes('forgot 1 of 1 failed jobs'), forgotten);
    await Promise.all([acting.waitForNavigation(), acting.getByRole('link', { name: 'Back' }).click()]);
    const again = await press(acting.locator('#job-head'), 'Retry');
    check(`${door.name}: one that is not in the record is not retried`, again.includes('Not done') && again.includes('Laravel has no failed job with id'), again);
    await acting.goto(link(door, 'class?name=App%5CJobs%5CLeaksMemory'));
    const bulk = acting.locator('form.act').filter({ hasText: 'Retry failed jobs' });
    await bulk.getByRole('button').click();
    check(`${door.name}: not all of a class by one click`, acting.url().includes('class?'), acting.url());
    await bulk.getByRole('checkbox').check();
    const all = await press(bulk, 'Retry failed jobs');
    check(`${door.name}: all failed jobs of a class are retried`, /retried \d+ of \d+ failed jobs \(class App\\Jobs\\LeaksMemory\)/.test(all), all);
    // Of a class, of the pool, of one job.
    const classPage = (name) => acting.goto(link(door, `class?name=App%5CJobs%5C${name}`));
    await classPage('SyncStock');
    const held = await press(acting.locator('#class-acts'), 'Pause');
    check(`${door.name}: a class is paused`, held.includes('paused class App\\Jobs\\SyncStock'), held);
    await Promise.all([acting.waitForNavigation(), acting.getByRole('link', { name: 'Back' }).click()]);
    check(`${door.name}: it says who has paused it, as a class`, await says('#class-state', 'paused by '));
    const letGo = await press(acting.locator('#class-acts'), 'Resume');
    check(`${door.name}: and goes on`, letGo.includes('resumed class App\\Jobs\\SyncStock'), letGo);
    dispatch('LeaksMemory=3@media');
    for (const end = Date.now() + 60_000; Date.now() < end; await acting.waitForTimeout(500)) {
      await classPage('LeaksMemory');
      if (await acting.getByRole('button', { name: 'Lift quarantine' }).count() > 0) break;
    }
    const lifted = await press(acting.locator('#class-acts'), 'Lift quarantine');
    check(`${door.name}: a quarantine is lifted`, lifted.includes('LeaksMemory: its quarantine is lifted'), lifted);
    // They wait, since their queue is paused. On a machine that is busy PHP may take longer than the page waits: then the log, which is
    // looked at later, says how it ends, and nothing else is begun meanwhile.
    const isTold = (text, wanted) => wanted.test(text) || text.includes('still running; see the log');
    const patiently = async (act) => {
      for (const end = Date.now() + 60_000; ; await acting.waitForTimeout(500)) {
        const text = await act();
        if (!text.includes('another request is running') || Date.now() > end) return text;
      }
    };
    await acting.goto(link(door, 'queue?name=media'));
    await press(acting.locator('#queue-acts'), 'Pause');
    dispatch('RenderVideo=4@media');
    await acting.goto(link(door, 'jobs?state=waiting&class=RenderVideo&queue=media'));
    const listed = async (which) => new URL(await which.getAttribute('href'), acting.url()).href;
    const job = await listed(acting.locator('#job-list tbody th a').first());
    const other = await listed(acting.locator('#job-list tbody tr').last().locator('th a').first());
    const front = await patiently(async () => {
      await acting.goto(job);
      return press(acting.locator('#job-head'), 'To the front');
    });
    check(`${door.name}: a job is moved to the front`, isTold(front, /moved 1 of the waiting jobs to the front of their queue/), front);
    const elsewhere = await patiently(async () => {
      await acting.goto(other);
      await acting.locator('#job-head input[name=to]').fill('mail');
      return press(acting.locator('#job-head'), 'Move');
    });
    check(`${door.name}: and one to another queue`, isTold(elsewhere, /moved 1 of the waiting jobs to queue mail/), elsewhere);
    const cancelled = await patiently(async () => {
      await acting.goto(job);
      return press(acting.locator('#job-head'), 'Cancel');
    });
    check(`${door.name}: a job is cancelled`, isTold(cancelled, /cancelled jobs: 1 waiting, 0 running/), cancelled);
    await classPage('RenderVideo');
    const every = acting.locator('form.act').filter({ hasText: 'Cancel jobs' });
    await every.getByRole('button').click();
    check(`${door.name}: not all jobs of a class by one click`, acting.url().includes('class?'), acting.url());
    const gone = await patiently(async () => {
      await classPage('RenderVideo');
      await every.getByRole('checkbox').check();
      return press(every, 'Cancel jobs');
    });
    check(`${door.name}: jobs of a class are cancelled`, isTold(gone, /cancelled jobs: [1-9]\d* waiting, \d+ running/), gone);
    await acting.goto(link(door, 'queue?name=media'));
    await press(acting.locator('#queue-acts'), 'Resume');
    // Messages that Laravel cannot run.
    dispatch('broken=3@mail');
    const list = () => patiently(async () => {
      await acting.goto(link(door, 'queue?name=mail'));
      return press(acting.locator('#broken-acts'), 'List');
    });
    let aside = '';
    for (const end = Date.now() + 60_000; Date.now() < end && !aside.includes('3 broken messages (queue mail)'); aside = await list());
    check(`${door.name}: broken messages are listed with the reason`, aside.includes('it is not JSON: Syntax error'), aside);
    const messages = () => acting.locator('section.card tbody tr');
    if (door.name === 'host') {
      check('host: contents of messages are not for its readers', (await acting.getByRole('button', { name: 'Show' }).count()) === 0);
      const action = await messages().first().locator('form.act').first().evaluate((form) => form.action.replace(/[a-z]+$/, 'requeue'));
      const answer = await acting.request.post(action, { headers: { ...door.headers, 'Sec-Fetch-Site': 'same-origin' }, form: { queue: 'mail', id: '1', with: '{}' } });
      const sent = `${answer.status()} ${await answer.text()}`;
      check('host: nor may they change them', sent.startsWith('409') && sent.includes('can be changed in the app'), sent);
    } else {
      const shown = await press(messages().first(), 'Show');
      check('app: the contents of a message are shown', shown.includes('Put back with these contents'), shown);
      const contents = acting.locator('#mend textarea');
      check('app: as they are', (await contents.inputValue()).startsWith('{"broken": '), await contents.inputValue());
      await contents.fill('{"job":"Mended@handle","data":[]}');
      const mended = await press(acting.locator('#mend'), 'Put back with these contents');
      check('app: a message is mended', isTold(mended, /put back 1 of 1 broken messages \(id \w+ of queue mail\), with new contents/), mended);
      await list();
    }
    const dropped = await press(messages().first(), 'Drop');
    check(`${door.name}: a message is dropped`, isTold(dropped, /dropped 1 of 1 broken messages/), dropped);
    await acting.goto(link(door, 'queue?name=mail'));
    const rest = acting.locator('#broken-acts form').filter({ hasText: 'Drop all' });
    await rest.getByRole('button').click();
    check(`${door.name}: not all of a queue by one click`, acting.url().includes('queue?'), acting.url());
    const cleared = await patiently(async () => {
      await acting.goto(link(door, 'queue?name=mail'));
      await rest.getByRole('checkbox').check();
      return press(rest, 'Drop all');
    });
    check(`${door.name}: all of a queue are dropped`, isTold(cleared, /dropped [12] of [12] broken messages \(queue mail\)/), cleared);
    // The whole app.
    await acting.goto(link(door, ''));
    await acting.locator('#app-acts').getByRole('button', { name: 'Pause all' }).click();
    check(`${door.name}: not all queues by one click`, !acting.url().includes('/act/'), acting.url());
    await acting.locator('#app-acts').getByRole('checkbox').check();
    const allHeld = await press(acting.locator('#app-acts'), 'Pause all');
    check(`${door.name}: all queues are paused`, allHeld.includes('paused every queue'), allHeld);
    await acting.goto(link(door, 'queue?name=mail'));
    check(`${door.name}: each says that it is paused with all`, await says('#queue-state', ', with all queues'));
    check(`${door.name}: and is not resumed alone`, (await acting.locator('#queue-acts').getByRole('button').allInnerTexts()).join() === 'Resume all');
    await acting.goto(link(door, ''));
    await acting.locator('#app-acts').getByRole('button', { name: 'Resume all' }).waitFor();
    const allLetGo = await press(acting.locator('#app-acts'), 'Resume all');
    check(`${door.name}: all queues go on`, allLetGo.includes('resumed every queue'), allLetGo);
    await acting.goto(link(door, ''));
    await acting.locator('#pool-acts input[name=size]').fill('2');
    await acting.locator('#pool-acts input[name=minutes]').fill('60');
    const bounded = await press(acting.locator('#pool-acts'), 'Limit the pool');
    check(`${door.name}: the pool is bounded`, bounded.includes('the pool has at most 2 workers for 3600 s'), bounded);
    await Promise.all([acting.waitForNavigation(), acting.getByRole('link', { name: 'Back' }).click()]);
    const usual = await press(acting.locator('#pool-acts'), 'Use the configured size');
    check(`${door.name}: and is as the settings say`, usual.includes('as configured'), usual);
    await acting.context().close();

    // Without any script.
    const plain = await open(door, sizes[0], 'light', { javaScriptEnabled: false });
    await plain.goto(link(door, ''));
    check(`${door.name}: it can be read without a script`, (await plain.locator('#queue-list tbody tr').count()) === 3 && (await plain.locator('svg[role=img]').count()) >= 3);
    check(`${door.name}: and has no dead button`, (await plain.locator('button.live').count()) === 0);
    await plain.context().close();
  }

  // What a job carries is shown in its app, to its people.
  const page = await open(doors[1], sizes[0], 'light');
  dispatch('RenderVideo=6@media');
  await page.goto(link(doors[1], 'jobs?state=waiting&class=RenderVideo'));
  const waiting = page.locator('#job-list tbody th a').first();
  await Promise.all([page.waitForNavigation(), waiting.click()]);
  check('app: the payload is there', (await page.content()).includes('CallQueuedHandler'));
  await page.context().close();

  if (PICTURES) {
    // Of the past alone: what this test does is no hour of a shop.
    const door = doors[0];
    const picture = async (name, path, height, hide) => {
      const page = await open(door, { width: 1160, height }, 'light');
      await page.goto(`${link(door, path)}${path.includes('?') ? '&' : '?'}end=${SEEDED}`);
      await page.evaluate((parts) => document.querySelectorAll(parts).forEach((part) => part.remove()), hide);
      await page.screenshot({ path: `${PICTURES}/${name}.png` });
      await page.context().close();
    };
    await picture('a-class-got-slow', 'class?name=App%5CJobs%5CResizeImage', 560, '.none');
    await picture('who-filled-the-queue', 'queue?name=default', 860, '#tiles, .marks, .figures');
    await picture('what-happened', 'events', 640, '.none');
    await picture('less-memory', 'classes?sort=memory', 440, '.none');
  }
} catch (error) {
  check('the browser runs to its end', false, String(error.stack));
} finally {
  await browser.close();
  console.log(`browser: ${passed} passed, ${failed} failed`);
}
