// Keeps a page up to date: takes its live parts from a newer rendering of the same page. Without it the page is what it
// was when it was loaded. It makes nothing of its own but the button that stops it.
(() => {
  'use strict';

  const { events, poll } = document.body.dataset;
  if (!events && !poll) return;

  // What somebody has opened, and where they are, stays as it is.
  const keep = (old, fresh) => {
    for (const open of old.querySelectorAll('details[open][id]')) fresh.querySelector(`#${CSS.escape(open.id)}`)?.setAttribute('open', '');
    const scrolled = [...old.querySelectorAll('.scroll')].map((part) => part.scrollLeft);
    const focus = document.activeElement;
    const place = focus && old !== focus && old.contains(focus) ? [focus.tagName, focus.getAttribute('href')] : null;
    return () => {
      old.querySelectorAll('.scroll').forEach((part, at) => { part.scrollLeft = scrolled[at] ?? 0; });
      if (!place) return;
      const [tag, href] = place;
      [...old.querySelectorAll(tag)].find((each) => each.getAttribute('href') === href)?.focus({ preventScroll: true });
    };
  };

  const update = (html) => {
    const fresh = new DOMParser().parseFromString(html, 'text/html');
    for (const old of document.querySelectorAll('[data-live][id]')) {
      const part = fresh.getElementById(old.id);
      const pointed = old.matches(':hover') && old.id === 'charts';
      if (!part || pointed || part.innerHTML === old.innerHTML) continue;
      const restore = keep(old, part);
      old.replaceChildren(...part.childNodes);
      restore();
    }
    document.body.dataset.updated = String(Date.now());
  };

  const button = document.createElement('button');
  button.className = 'live';
  button.type = 'button';
  const show = (state, text) => { button.dataset.state = state; button.textContent = text; };

  let stop = null;

  const listen = () => {
    const more = location.search.slice(1);
    const source = new EventSource(more ? `${events}${events.includes('?') ? '&' : '?'}${more}` : events);
    source.addEventListener('page', (event) => { show('on', 'Live'); update(event.data); });
    source.addEventListener('error', () => show('lost', 'Connecting'));
    source.addEventListener('open', () => show('on', 'Live'));
    return () => source.close();
  };

  const ask = () => {
    let timer = 0;
    const again = async () => {
      try {
        if (!document.hidden) {
          const answer = await fetch(location.href, { headers: { Accept: 'text/html' } });
          if (!answer.ok) throw new Error(answer.statusText);
          update(await answer.text());
          show('on', 'Live');
        }
      } catch {
        show('lost', 'Connecting');
      }
      if (stop) timer = setTimeout(again, Number(poll) * 1000);
    };
    timer = setTimeout(again, Number(poll) * 1000);
    return () => clearTimeout(timer);
  };

  const toggle = () => {
    if (stop) {
      stop();
      stop = null;
      show('off', 'Paused');
    } else {
      stop = (events ? listen : ask)();
      show('on', 'Live');
    }
    button.setAttribute('aria-pressed', String(Boolean(stop)));
    button.title = stop ? 'Stop updating this page' : 'Keep this page up to date';
  };

  document.querySelector('.bar').append(button);
  button.addEventListener('click', toggle);
  toggle();
})();
