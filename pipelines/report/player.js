"use strict";
// The video on show: its film, its timeline, and jumps to the frames that matter.

class Player {
  constructor(root) {
    const find = (selector) => root.querySelector(selector);
    this.root = root;
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
  async show(video, frame = 0) {
    this.video = video;
    const details = await huetrack.detailsOf(video);
    if (this.video !== video) return; // another one was chosen meanwhile
    this.details = details;
    this.frames = store.columns.frames[video];
    this.shownFrame = 0;
    this.title.textContent = store.columns.id[video];
    this.flagged = stretches(details.objects, this.frames);
    this.status.textContent = "";
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
      const go = element("button", {
        type: "button",
        class: place ? "candidate" : "candidate best",
        text: `${place ? "then" : "Annotate"} frame ${name}`,
        onclick: () => this.pauseAt(frame),
      });
      const [from, to] = [begin, end - 1].map((each) => frameName(this.details, each));
      return element("li", {}, go, element("span", {
        text: `is expected to put right ${help.toLocaleString()} labels of frames ${from} to ${to}`,
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

  frameNow() {
    if (!store.columns.film[this.video] || !this.film.readyState) return this.shownFrame;
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

  /** To the beginning of the next (1) or the previous (-1) stretch of flagged frames. */
  toFlag(direction) {
    const now = this.frameNow();
    const later = (frame) => frame > now;
    const found = direction > 0 ? this.flagged.find(later) : this.flagged.findLast((frame) => frame < now);
    this.status.textContent = found !== undefined ? ""
      : this.flagged.length ? `no flagged frame ${direction > 0 ? "after" : "before"} this one`
        : "no flagged frame in this video";
    if (found !== undefined) this.pauseAt(found);
  }

  toAdvice() {
    if (this.details?.next.length) this.pauseAt(this.details.next[0][0]);
  }

  read(frame = this.frameNow()) {
    if (!this.details) return;
    this.shownFrame = frame;
    this.timeline.at(frame);
    const seconds = (frame / this.details.fps).toFixed(2);
    this.frameText.textContent = `frame ${frameName(this.details, frame)} of ${this.frames.toLocaleString()}, ${seconds} s`;
    this.playButton.textContent = this.film.paused ? "Play" : "Pause";
  }

  follow() {
    this.read();
    if (!this.film.paused) requestAnimationFrame(() => this.follow());
  }
}

/** Where stretches of frames begin in which some object is flagged. */
function stretches(objects, frames) {
  const changes = new Int16Array(frames + 1);
  for (const { spans } of objects) {
    for (const [, first, end] of spans) {
      changes[first]++;
      changes[end]--;
    }
  }
  const starts = [];
  for (let frame = 0, open = 0; frame < frames; frame++) {
    const before = open;
    open += changes[frame];
    if (open && !before) starts.push(frame);
  }
  return starts;
}
