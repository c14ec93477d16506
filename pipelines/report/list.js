"use strict";
// The list of videos. Only the lines in sight are elements, however many there are.

class VideoList {
  static MARGIN = 4; // lines beyond each edge

  constructor(frame, onChoose) {
    this.frame = frame;
    this.space = frame.querySelector(".space");
    this.onChoose = onChoose;
    this.lines = [];
    this.shown = new Map(); // place -> element
    this.chosen = -1;
    this.lineHeight = parseFloat(getComputedStyle(frame).getPropertyValue("--line-height"));
    frame.addEventListener("scroll", () => this.draw(), { passive: true });
    frame.addEventListener("keydown", (event) => this.onKey(event));
    new ResizeObserver(() => this.draw()).observe(frame);
  }

  /** Show other lines, from the first on. */
  show(lines) {
    this.lines = lines;
    this.chosen = -1;
    this.space.style.height = `${lines.length * this.lineHeight}px`;
    for (const line of this.shown.values()) line.remove();
    this.shown.clear();
    this.frame.scrollTop = 0;
    this.draw();
  }

  /** `details`, of any kind, go to whoever is told of the choice. */
  choose(place, ...details) {
    if (place < 0 || place >= this.lines.length) return;
    this.chosen = place;
    this.reveal(place);
    this.draw();
    this.onChoose(this.lines[place], ...details);
  }

  step(by) {
    this.choose(this.chosen < 0 ? 0 : this.chosen + by);
  }

  reveal(place) {
    const top = place * this.lineHeight;
    const { scrollTop, clientHeight } = this.frame;
    if (top < scrollTop) this.frame.scrollTop = top;
    else if (top + this.lineHeight > scrollTop + clientHeight) {
      this.frame.scrollTop = top + this.lineHeight - clientHeight;
    }
  }

  onKey(event) {
    const page = Math.max(1, Math.floor(this.frame.clientHeight / this.lineHeight) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
    if (event.key in steps) {
      const last = this.lines.length - 1;
      this.choose(Math.max(0, Math.min(last, this.chosen + steps[event.key])));
    } else if (event.key === "Home") this.choose(0);
    else if (event.key === "End") this.choose(this.lines.length - 1);
    else return;
    event.preventDefault();
  }

  draw() {
    const { scrollTop, clientHeight } = this.frame;
    const first = Math.max(0, Math.floor(scrollTop / this.lineHeight) - VideoList.MARGIN);
    const end = Math.min(
      this.lines.length,
      Math.ceil((scrollTop + clientHeight) / this.lineHeight) + VideoList.MARGIN,
    );
    for (const [place, line] of this.shown) {
      if (place < first || place >= end) {
        line.remove();
        this.shown.delete(place);
      }
    }
    for (let place = first; place < end; place++) {
      if (!this.shown.has(place)) {
        const line = this.makeLine(place);
        this.shown.set(place, line);
        this.space.append(line);
      }
      const line = this.shown.get(place);
      line.setAttribute("aria-selected", String(place === this.chosen));
    }
    if (this.shown.has(this.chosen)) this.frame.setAttribute("aria-activedescendant", `line-${this.chosen}`);
    else this.frame.removeAttribute("aria-activedescendant");
  }

  makeLine(place) {
    const { video, failed } = this.lines[place];
    const line = element("div", {
      class: failed === undefined ? "line" : "line failed",
      role: "option",
      id: `line-${place}`,
      "aria-setsize": this.lines.length,
      "aria-posinset": place + 1,
      onclick: () => this.choose(place),
    });
    line.style.top = `${place * this.lineHeight}px`;
    line.append(...(failed === undefined ? videoLine(video) : failedLine(failed)));
    return line;
  }
}

function failedLine(place) {
  const [id, kind, message] = store.failed[place];
  return [
    element("span", { class: "name" }, element("bdi", { text: id })),
    element("span", { class: "kind", text: kind }),
    element("span", { class: "message", text: message }),
  ];
}

function videoLine(video) {
  const { id, frames, worst, flagged, help, objects, spark } = store.columns;
  const bits = objects[video].reduce((all, [, own]) => all | own, 0);
  const facts = [
    `${frames[video].toLocaleString()} frames`,
    flagged[video] ? `${flagged[video].toLocaleString()} flagged` : "",
  ];
  return [
    thumbnail(video),
    element(
      "span",
      { class: "about" },
      element("span", { class: "name", title: id[video] }, element("bdi", { text: id[video] })),
      element("span", { class: "facts", text: facts.filter(Boolean).join(" · ") }),
      element("span", { class: "flags", text: flagNames(bits).join(" · ") }),
    ),
    element(
      "span",
      { class: "sure" },
      element("span", {
        class: "gain",
        title: "labels that one annotated frame is expected to put right",
        text: help[video] ? `+${Math.round(help[video]).toLocaleString()}` : "",
      }),
      element("span", { class: "worst", title: "lowest confidence", text: percent(worst[video]) }),
      sparkline(spark[video]),
    ),
  ];
}

/** A picture of the contact sheet; the pointer goes through the others. */
function thumbnail(video) {
  const frame = element("span", { class: "thumb" });
  if (store.columns.sheet[video]) {
    const image = element("img", { src: sheetOf(video), alt: "", loading: "lazy", decoding: "async" });
    const turnTo = (share) => {
      const pictures = Math.max(1, Math.round(image.naturalWidth / SHEET_PICTURE_PX));
      const place = Math.min(pictures - 1, Math.floor(share * pictures));
      image.style.objectPosition = pictures > 1 ? `${(100 * place) / (pictures - 1)}% 50%` : "50% 50%";
    };
    image.addEventListener("load", () => turnTo(0.5));
    frame.addEventListener("pointermove", (event) => turnTo(event.offsetX / frame.clientWidth));
    frame.addEventListener("pointerleave", () => turnTo(0.5));
    frame.append(image);
  } else if (store.columns.film[video]) {
    frame.append(element("video", { src: filmOf(video), preload: "metadata", muted: true, tabindex: -1 }));
  }
  return frame;
}

const SHEET_PICTURE_PX = 160;
const SVG = "http://www.w3.org/2000/svg";

/** The lowest confidence over the video, in the order of its frames. */
function sparkline(values) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${Math.max(1, values.length)} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  values.forEach((value, place) => {
    if (value == null) return;
    const bar = document.createElementNS(SVG, "rect");
    const height = Math.max(4, value);
    for (const [name, given] of Object.entries({ x: place, width: 1.03, y: 100 - height, height })) {
      bar.setAttribute(name, given);
    }
    if (value < 50) bar.setAttribute("class", "low");
    svg.append(bar);
  });
  return svg;
}
