"use strict";
// The confidence of every object over the frames of a film: a lane each, one canvas for all of them.

class Timeline {
  static LANE_PX = 36;
  static EDGE_PX = 3; // above and below the curve of a lane
  static FLAG_PX = 4;

  constructor(root, onSeek) {
    this.labels = root.querySelector(".lane-labels");
    this.strip = root.querySelector(".lanes");
    this.canvas = root.querySelector("canvas");
    this.head = root.querySelector(".head");
    this.onSeek = onSeek;
    this.details = null;
    new ResizeObserver(() => this.draw()).observe(this.strip);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.strip.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.strip.setPointerCapture(event.pointerId);
      this.seekTo(event);
    });
    this.strip.addEventListener("pointermove", (event) => {
      if (this.strip.hasPointerCapture(event.pointerId)) this.seekTo(event);
    });
    this.strip.addEventListener("keydown", (event) => {
      const leap = Math.max(1, Math.round(this.frames / 20));
      const target = {
        ArrowLeft: this.frame - 1, ArrowRight: this.frame + 1, PageUp: this.frame - leap,
        PageDown: this.frame + leap, Home: 0, End: this.frames - 1,
      }[event.key];
      if (target === undefined) return;
      event.preventDefault();
      onSeek(target);
    });
  }

  seekTo(event) {
    const box = this.strip.getBoundingClientRect();
    this.onSeek(Math.floor(((event.clientX - box.left) / box.width) * this.frames));
  }

  /** Another video: its details and its number of frames. */
  show(details, frames) {
    this.details = details;
    this.frames = frames;
    this.strip.setAttribute("aria-valuemax", frames - 1);
    this.readings = details.objects.map((object) => {
      const swatch = element("span", { class: "swatch" });
      swatch.style.background = object.colour;
      const name = objectName(object);
      const value = element("output");
      const flags = element("span", { class: "flags" });
      return { name, value, flags, label: element("div", { class: "lane-label" }, swatch,
        element("bdi", { text: name, title: name }), value, flags) };
    });
    this.labels.replaceChildren(...this.readings.map((reading) => reading.label));
    this.strip.style.height = `${details.objects.length * Timeline.LANE_PX}px`;
    this.at(0);
    this.draw();
  }

  /** The frame on show: where the head stands, and what is read off there. */
  at(frame) {
    this.frame = frame;
    this.head.style.left = `${(100 * (frame + 0.5)) / this.frames}%`;
    const texts = this.details.objects.map((object, place) => {
      const { name, value, flags } = this.readings[place];
      value.textContent = percent(object.confidence[frame]);
      flags.textContent = flagNames(bitsAt(object.spans, frame)).join(", ");
      return `${name}: ${value.textContent} ${flags.textContent}`.trim();
    });
    this.strip.setAttribute("aria-valuenow", frame);
    this.strip.setAttribute("aria-valuetext", `frame ${frameName(this.details, frame)}; ${texts.join("; ")}`);
  }

  draw() {
    if (!this.details || !this.strip.clientWidth) return;
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [this.strip.clientWidth, this.strip.clientHeight];
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(this.strip);
    const ink = (name) => style.getPropertyValue(name);
    const x = (frame) => (frame / this.frames) * width;
    this.details.objects.forEach((object, place) => {
      const top = place * Timeline.LANE_PX;
      if (place % 2) {
        pen.fillStyle = ink("--stripe");
        pen.fillRect(0, top, width, Timeline.LANE_PX);
      }
      for (const [bits, first, end] of object.spans) {
        const onlyLow = bits === 1 << (store.flags.length - 1);
        const height = onlyLow ? Timeline.FLAG_PX / 2 : Timeline.FLAG_PX;
        pen.fillStyle = ink("--flag");
        pen.fillRect(x(first), top + Timeline.LANE_PX - height, Math.max(1.5, x(end) - x(first)), height);
      }
      pen.strokeStyle = ink("--line");
      pen.setLineDash([3, 3]);
      pen.beginPath();
      pen.moveTo(0, this.y(top, 50));
      pen.lineTo(width, this.y(top, 50));
      pen.stroke();
      pen.setLineDash([]);
      this.drawCurve(pen, object, top, width, ink);
    });
    pen.fillStyle = ink("--text");
    for (const frame of this.details.anchors) this.diamond(pen, x(frame + 0.5), 5);
    const [next] = this.details.next;
    if (next) {
      pen.fillStyle = ink("--accent");
      pen.fillRect(x(next[0] + 0.5) - 1, 0, 2, height);
      this.arrow(pen, x(next[0] + 0.5));
    }
  }

  y(top, percents) {
    const room = Timeline.LANE_PX - 2 * Timeline.EDGE_PX - Timeline.FLAG_PX;
    return top + Timeline.EDGE_PX + ((100 - percents) / 100) * room;
  }

  /** A step a frame; where frames are narrower than pixels, the lowest of those in a pixel. */
  drawCurve(pen, object, top, width, ink) {
    const { confidence, colour } = object;
    const columns = Math.min(this.frames, Math.ceil(width));
    const base = this.y(top, 0);
    const outline = new Path2D();
    const area = new Path2D();
    let before = null;
    for (let column = 0; column < columns; column++) {
      const first = Math.floor((column * this.frames) / columns);
      const end = Math.max(first + 1, Math.floor(((column + 1) * this.frames) / columns));
      let lowest = null;
      for (let frame = first; frame < end; frame++) {
        const value = confidence[frame];
        if (value != null && (lowest === null || value < lowest)) lowest = value;
      }
      const [left, right] = [(column * width) / columns, ((column + 1) * width) / columns];
      if (lowest !== null) {
        const y = this.y(top, lowest);
        area.rect(left, y, right - left, base - y);
        if (before === null) outline.moveTo(left, y);
        else outline.lineTo(left, y);
        outline.lineTo(right, y);
      }
      before = lowest;
    }
    pen.fillStyle = colour;
    pen.globalAlpha = Number(ink("--area"));
    pen.fill(area);
    pen.globalAlpha = 1;
    pen.lineWidth = 1.6;
    pen.strokeStyle = `color-mix(in oklab, ${colour}, ${ink("--object-mix")})`;
    pen.stroke(outline);
    pen.lineWidth = 1;
  }

  diamond(pen, x, y) {
    pen.beginPath();
    for (const [dx, dy] of [[0, -4], [4, 0], [0, 4], [-4, 0]]) pen.lineTo(x + dx, y + dy);
    pen.fill();
  }

  arrow(pen, x) {
    pen.beginPath();
    for (const [dx, y] of [[-6, 0], [6, 0], [0, 8]]) pen.lineTo(x + dx, y);
    pen.fill();
  }
}

function bitsAt(spans, frame) {
  const span = spans.find(([, first, end]) => first <= frame && frame < end);
  return span ? span[0] : 0;
}

const objectName = ({ id, label }) => `${label || "object"} ${id}`;
const frameName = (details, frame) => details.names?.[frame] ?? String(frame).padStart(5, "0");
