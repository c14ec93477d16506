"use strict";
// The video on show: its film, its timeline, and jumps to the frames that matter.

class Player {
  /** `onRest` is called when the film stands at another frame than before. */
  constructor(root, onRest) {
    const find = (selector) => root.querySelector(selector);
    this.root = root;
    this.onRest = onRest;
    this.film = find("video");
    this.title = find("h2 bdi");
    this.facts = find(".facts");
    this.missing = find(".missing");
    this.advice = find(".advice");
    this.frameText = find(".frame");
    this.status = find(".status");
    this.playButton = find(".play");
    this.timeline = new Timeline(root, (frame) => this.pauseAt(frame));
    const buttons = {
      ".play": () => this.toggle(),
      ".back": () => this.pauseAt(this.frameNow() - 1),
      ".forward": () => this.pauseAt(this.frameNow() + 1),
      ".previous-flag": () => this.toFlag(-1),
      ".next-flag": () => this.toFlag(1),
    };
    for (const [selector, action] of Object.entries(buttons)) find(selector).addEventListener("click", action);
    this.film.addEventListener("play", () => this.follow());
    for (const event of ["timeupdate", "seeking", "loadedmetadata", "play", "pause"]) {
      this.film.addEventListener(event, () => this.read());
    }
    this.film.addEventListener("error", () => { this.missing.hidden = false; });
  }

  /** Show a video, from a frame on. */
  async show(video, frame) {
    if (this.video === video && this.details) {
      this.pauseAt(frame);
      return;
    }
    this.video = video;
    this.details = null;
    const details = await huetrack.detailsOf(video).catch((error) => {
      if (this.video === video) this.hide();
      throw error;
    });
    if (this.video !== video) return; // another one was chosen meanwhile
    this.details = details;
    this.frames = store.columns.frames[video];
    this.shownFrame = 0;
    this.title.textContent = this.title.title = store.columns.id[video];
    this.flagged = flagged(details.objects);
    this.say("");
    this.missing.hidden = Boolean(store.columns.film[video]);
    this.film.setAttribute("aria-label", `labels drawn over ${store.columns.id[video]}`);
    if (store.columns.film[video]) this.film.src = filmOf(video);
    else this.film.removeAttribute("src");
    this.film.load();
    this.root.hidden = false;
    this.writeFacts();
    this.writeAdvice();
    this.timeline.show(details, this.frames);
    this.pauseAt(frame);
  }

  hide() {
    this.video = undefined;
    this.details = null;
    this.film.pause();
    this.root.hidden = true;
  }

  writeFacts() {
    const { frames, flagged, worst, mean } = store.columns;
    const seconds = this.frames / this.details.fps;
    this.facts.textContent = [
      `${frames[this.video].toLocaleString()} frames, ${seconds.toFixed(1)} s`,
      `${this.details.anchors.length} annotated`,
      `${flagged[this.video].toLocaleString()} flagged`,
      worst[this.video] == null
        ? "no confidence was computed"
        : `confidence ${percent(mean[this.video])} in the mean, ${percent(worst[this.video])} at worst`,
    ].join(" · ");
  }

  /** What to annotate next. */
  writeAdvice() {
    const lines = this.details.next.map(([frame, help, begin, end], place) => {
      const name = frameName(this.details, frame);
      const [from, to] = [begin, end - 1].map((each) => frameName(this.details, each));
      const labels = Math.round(help).toLocaleString();
      const promise = `expected to put right about ${labels} label${labels === "1" ? "" : "s"} of frames ${from} to ${to}`;
      const go = element("button", {
        type: "button",
        class: place ? "candidate" : "candidate best",
        text: place ? `then ${name}` : `Annotate frame ${name}`,
        title: place ? promise : `a: ${promise}`,
        onclick: () => this.pauseAt(frame),
      });
      return element("li", {}, go, element("span", {
        title: promise,
        text: place ? `+${labels}` : `≈ ${labels} labels of ${from} to ${to} put right`,
      }));
    });
    this.advice.replaceChildren(...lines);
    if (!lines.length) {
      const known = store.columns.worst[this.video] != null;
      this.advice.append(element("li", {
        text: known ? "One more annotated frame is not expected to put anything right."
          : "Without confidences there is no telling which frame to annotate next.",
      }));
    }
  }

  /** Video and frame on show; null for none. */
  place() {
    return this.details && { video: this.video, frame: this.shownFrame };
  }

  frameNow() {
    if (!this.details || !store.columns.film[this.video] || !this.film.readyState) return this.shownFrame;
    return Math.min(this.frames - 1, Math.floor(this.film.currentTime * this.details.fps + 1e-3));
  }

  /** Go to a frame and stay there. */
  pauseAt(frame) {
    if (!this.details) return;
    const inside = Math.max(0, Math.min(this.frames - 1, frame));
    this.film.pause();
    this.shownFrame = inside;
    this.film.currentTime = (inside + 0.5) / this.details.fps; // the middle of the frame
    this.read(inside);
  }

  toggle() {
    if (!store.columns.film[this.video]) return;
    if (!this.film.paused) this.film.pause();
    else this.film.play().catch(() => {}); // refused, or paused meanwhile
  }

  /** To the next (1) or the previous (-1) frame from which on an object is flagged, or flagged otherwise. */
  toFlag(direction) {
    if (!this.details) return;
    const now = this.frameNow();
    const frames = [...this.flagged.keys()];
    const found = direction > 0 ? frames.find((frame) => frame > now) : frames.findLast((frame) => frame < now);
    if (found !== undefined) this.pauseAt(found);
    this.say(found !== undefined ? this.flagged.get(found).join("; ")
      : frames.length ? `no object is flagged anew or otherwise ${direction > 0 ? "after" : "before"} this frame`
        : "no object is flagged in this video");
  }

  /** What is said of the frame on show, until there is another. */
  say(text) {
    this.status.textContent = this.status.title = text;
    this.saidAt = this.shownFrame;
  }

  toAdvice() {
    if (this.details?.next.length) this.pauseAt(this.details.next[0][0]);
  }

  read(frame = this.frameNow()) {
    if (!this.details) return;
    if (this.status.textContent && frame !== this.saidAt) this.say("");
    this.shownFrame = frame;
    this.timeline.at(frame);
    const seconds = (frame / this.details.fps).toFixed(2);
    this.frameText.textContent = `frame ${frameName(this.details, frame)} of ${this.frames.toLocaleString()}, ${seconds} s`;
    this.playButton.textContent = this.film.paused ? "Play" : "Pause";
    if (this.film.paused) this.onRest();
  }

  follow() {
    this.read();
    if (!this.film.paused) requestAnimationFrame(() => this.follow());
  }
}

/** Frames, in order, from which on an object is flagged or flagged otherwise, and which objects those are. */
function flagged(objects) {
  const found = new Map();
  for (const object of objects) {
    for (const [bits, first] of object.spans) {
      if (!found.has(first)) found.set(first, []);
      found.get(first).push(`${objectName(object)}: ${flagNames(bits).join(", ")}`);
    }
  }
  return new Map([...found].sort(([a], [b]) => a - b));
}
