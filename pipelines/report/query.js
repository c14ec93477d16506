"use strict";
// Which videos are shown, and in which order.

/** What a line of the list stands for: {video} or {failed}, each a place in the store. */
const query = (() => {
  const ORDERS = {
    help: { values: () => store.columns.help, descending: true },
    worst: { values: () => store.columns.worst, descending: false },
    mean: { values: () => store.columns.mean, descending: false },
    flagged: { values: () => store.columns.flagged, descending: true },
    length: { values: () => store.columns.frames, descending: true },
    name: { values: null, descending: false },
  };
  const names = new Intl.Collator(undefined, { numeric: true });

  const hasObject = (objects, label, bits) =>
    objects.some(([place, seen]) => (label < 0 || place === label) && (!bits || seen & bits));

  const videos = ({ text, label, bits, order, reversed }) => {
    const found = [];
    for (let video = 0; video < store.count; video++) {
      if (text && !store.lowerNames[video].includes(text)) continue;
      if ((label >= 0 || bits) && !hasObject(store.columns.objects[video], label, bits)) continue;
      found.push(video);
    }
    const { values, descending } = ORDERS[order];
    const sign = descending !== reversed ? -1 : 1;
    const byName = (a, b) => names.compare(store.columns.id[a], store.columns.id[b]);
    if (values === null) return found.sort((a, b) => sign * byName(a, b));
    const column = values();
    return found.sort((a, b) => {
      const [x, y] = [column[a], column[b]];
      if (x === y) return a - b; // they were written in the order of their names
      if (x == null) return 1; // what is not known comes last either way
      return y == null ? -1 : sign * (x - y);
    });
  };

  const failures = ({ text, kind, order, reversed }) => {
    const found = store.failed
      .map((_, place) => place)
      .filter((place) => !kind || store.failed[place][1] === kind)
      .filter((place) => !text || store.failed[place][0].toLowerCase().includes(text));
    return order === "name" && reversed ? found.reverse() : found;
  };

  return {
    /** Lines for the choices {show, kind, text, label, bits, order, reversed}. */
    lines: (choice) =>
      choice.show === "failed"
        ? failures(choice).map((failed) => ({ failed }))
        : videos(choice).map((video) => ({ video })),
    /** How many videos have each flag. */
    flagCounts: () => {
      const counts = store.flags.map(() => 0);
      for (const objects of store.columns.objects) {
        const seen = objects.reduce((bits, [, own]) => bits | own, 0);
        counts.forEach((_, bit) => { if (seen & (1 << bit)) counts[bit]++; });
      }
      return counts;
    },
    /** How many videos have an object of each label. */
    labelCounts: () => {
      const counts = store.labels.map(() => 0);
      for (const objects of store.columns.objects) {
        for (const place of new Set(objects.map(([label]) => label))) counts[place]++;
      }
      return counts;
    },
    failureCounts: () => {
      const counts = new Map();
      for (const [, kind] of store.failed) counts.set(kind, (counts.get(kind) ?? 0) + 1);
      return counts;
    },
  };
})();
