"use strict";
// The address names the video on show and the frame at which it stands, `#video=NAME&frame=12` (from 0 on),
// so that a link leads there: when the page is opened, and while it is open.

class Address {
  static WAIT_MS = 250; // browsers refuse more than some changes a second

  /** `place` tells {video, frame} or null; `onLink` gets the same when a link was followed. */
  constructor(place, onLink) {
    this.place = place;
    window.addEventListener("hashchange", (event) => {
      clearTimeout(this.timer);
      const link = Address.read(new URL(event.newURL).hash);
      if (link) onLink(link);
    });
  }

  /** What an address leads to; null when it names no video. The video is -1 where there is none of that name. */
  static read(hash) {
    const fields = new URLSearchParams(hash.slice(1));
    const name = fields.get("video");
    if (name === null) return null;
    const frame = Number.parseInt(fields.get("frame"), 10) || 0;
    const written = /[#&]video=([^&]*)/.exec(hash)?.[1]; // also a name that is no valid text
    const video = store.columns.url.indexOf(written);
    return { name, frame, video: video < 0 ? store.columns.id.indexOf(name) : video };
  }

  /** Soon, when nothing changes for a moment; it is no step that the browser goes back to. */
  write() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const place = this.place();
      const frame = place?.frame ? `&frame=${place.frame}` : "";
      const hash = place ? `#video=${store.columns.url[place.video]}${frame}` : "#";
      if (hash !== (location.hash || "#")) history.replaceState(null, "", hash);
    }, Address.WAIT_MS);
  }
}
