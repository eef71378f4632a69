// Listens to the server, and knows since when it has heard nothing.

const SILENT_AFTER = 40_000; // the server says something every 15 s
const GREY_AFTER = 5_000;
const BEGIN_AGAIN = [3_000, 5_000, 10_000, 30_000];

/** Calls `on.wall(document)` for each document and `on.state()` whenever it may look otherwise. */
export class Feed {
  constructor(on) {
    this.on = on;
    this.heardAt = new Date();
    this.trouble = document.querySelector("meta[name=trouble]").content || null;
    this.open = false;
    this.lostAt = null;
    this.tries = 0;
    this.listen();
    setInterval(() => this.look(), 1000);
  }

  listen() {
    const source = new EventSource("/api/wall/events");
    this.source = source;
    source.onopen = () => { this.open = true; this.tries = 0; this.heard(); };
    source.onerror = () => this.lost();
    source.addEventListener("wall", (event) => { this.trouble = null; this.heard(); this.on.wall(JSON.parse(event.data)); });
    source.addEventListener("alive", () => this.heard());
    source.addEventListener("trouble", (event) => { this.trouble = JSON.parse(event.data).trouble; this.heard(); });
  }

  heard() {
    this.heardAt = new Date();
    this.lostAt = null;
    this.on.state();
  }

  lost() {
    this.open = false;
    this.lostAt ??= new Date();
    // A browser tries again by itself, but not where the answer was an error: then we do.
    if (this.source.readyState === EventSource.CLOSED) this.again();
    this.on.state();
  }

  again() {
    this.source.close();
    const wait = BEGIN_AGAIN[Math.min(this.tries++, BEGIN_AGAIN.length - 1)] * (0.75 + Math.random() / 2);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.listen(), wait);
  }

  look() {
    if (this.open && Date.now() - this.heardAt > SILENT_AFTER) {
      this.open = false;
      this.lostAt ??= new Date();
      this.again();
    }
    this.on.state();
  }

  /** Whether what is shown may be old. */
  get stale() {
    return this.trouble !== null || (this.lostAt !== null && Date.now() - this.lostAt > GREY_AFTER);
  }
}
