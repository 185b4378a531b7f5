// What stands under the pointer in a figure, and figures that are enlarged, zoomed and moved.
// A figure's data-points are [x, y, text] in its SVG, its data-scales the boxes of its axes with
// the numbers at their ends (harness/report/hover.py). Without this script the page is whole.
"use strict";
(() => {
  const NEAR_PX = 28, MOST_ZOOM = 40;
  const NS = "http://www.w3.org/2000/svg";
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("role", "status");

  function made(tag, attributes) {
    const element = document.createElementNS(NS, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }

  // Hover

  function onScreen(svg, x, y) {
    return new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
  }

  function nearest(svg, points, clientX, clientY) {
    let best = null, least = NEAR_PX;
    const matrix = svg.getScreenCTM();
    points.forEach(([x, y], i) => {
      const at = { x: matrix.a * x + matrix.e, y: matrix.d * y + matrix.f };
      const distance = Math.hypot(at.x - clientX, at.y - clientY);
      if (distance < least) [best, least] = [i, distance];
    });
    return best;
  }

  function tell(svg, point) {
    hush();
    const [x, y, text] = point;
    const at = onScreen(svg, x, y), pixel = 1 / svg.getScreenCTM().a;
    svg.append(made("circle", { class: "ring", cx: x, cy: y, r: 7 * pixel }));
    svg.lastChild.style.strokeWidth = 1.5 * pixel;
    (svg.closest("dialog") || document.body).append(tip); // a dialog is above all that is outside
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect(), width = document.documentElement.clientWidth;
    tip.style.left = Math.max(4, Math.min(at.x + 12, width - box.width - 4)) + "px";
    tip.style.top = (at.y - box.height - 12 < 4 ? at.y + 14 : at.y - box.height - 12) + "px";
  }

  function hush() {
    tip.hidden = true;
    document.querySelectorAll(".ring").forEach((ring) => ring.remove());
  }

  function listen(figure, svg) {
    const points = JSON.parse(figure.dataset.points);
    const order = points.map((_, i) => i).sort((a, b) => points[a][0] - points[b][0]);
    let told = null;
    const show = (i) => {
      told = i;
      if (i === null) hush();
      else tell(svg, points[i]);
    };
    const follow = (event) => show(nearest(svg, points, event.clientX, event.clientY));
    svg.addEventListener("pointermove", follow);
    svg.addEventListener("pointerdown", follow);
    svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show(null));
    svg.addEventListener("blur", () => show(null));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step || !points.length) return;
      event.preventDefault();
      const next = told === null ? 0 : order.indexOf(told) + step;
      const chosen = order[(next + order.length) % order.length];
      if (view) reveal(points[chosen]);
      show(chosen);
    });
    svg.tabIndex = 0;
  }

  // Zoom

  const dialog = document.createElement("dialog");
  dialog.innerHTML = '<div class="bar"><button data-zoom="1.5" aria-label="Zoom in">+</button>'
    + '<button data-zoom="0.667" aria-label="Zoom out">−</button><button data-zoom="0">Whole</button>'
    + '<span>wheel, + − or 0 to zoom, drag to move, ← → from value to value</span><button data-close>Close</button></div>';
  let home = null, view = null, whole = null, scales = [];

  function open(figure, svg) {
    hush();
    home = document.createComment("figure");
    svg.replaceWith(home);
    whole = svg.getAttribute("viewBox").split(" ").map(Number);
    scales = JSON.parse(figure.dataset.scales);
    // A band is used too, at 0.
    const uses = [...svg.querySelectorAll("use")]
      .map((use) => [use, use.x.baseVal.value, use.y.baseVal.value]);
    view = { svg, box: [...whole], marks: uses.filter(([, x]) => x) };
    dialog.append(svg);
    dialog.setAttribute("aria-label", svg.getAttribute("aria-label"));
    dialog.showModal();
  }

  function close() {
    hush();
    look(whole);
    home.replaceWith(view.svg);
    view = null;
  }

  function look(box) {
    view.box = box;
    view.svg.setAttribute("viewBox", box.join(" "));
    for (const [use, x, y] of view.marks) // they stay as large as they are
      use.setAttribute("transform",
        "translate(" + x + " " + y + ") scale(" + box[2] / whole[2] + ") translate(" + -x + " " + -y + ")");
    view.svg.querySelectorAll(".tick").forEach((tick) => tick.remove());
    if (box[2] < 0.99 * whole[2]) scales.forEach(mark);
  }

  // The axes' own numbers may be outside what is seen: others are written at the edges.
  function mark([left, bottom, right, top, xKind, xLow, xHigh, yKind, yLow, yHigh]) {
    const [x, y, width, height] = view.box;
    const from = Math.max(left, x), to = Math.min(right, x + width);
    const high = Math.max(top, y), low = Math.min(bottom, y + height);
    if (from >= to || high >= low) return;
    const size = width / whole[2];
    const put = (at, value, style) => {
      const text = made("text", { class: "tick", ...at, ...style });
      text.style.fontSize = 6 * size + "px";
      text.style.strokeWidth = 2 * size + "px";
      text.textContent = value;
      view.svg.append(text);
    };
    const across = axis(xKind, left, right, xLow, xHigh), up = axis(yKind, bottom, top, yLow, yHigh);
    for (const value of numbers(across, from, to))
      put({ x: across.place(value), y: low - 4 * size }, plain(value), { "text-anchor": "middle" });
    for (const value of numbers(up, low, high))
      put({ x: from + 4 * size, y: up.place(value) + 2 * size }, plain(value), {});
  }

  function axis(kind, start, end, low, high) {
    const by = kind === "log" ? Math.log10 : (value) => value;
    const back = kind === "log" ? (value) => 10 ** value : (value) => value;
    const [a, b] = [by(low), by(high)];
    return {
      kind,
      place: (value) => start + ((by(value) - a) / (b - a)) * (end - start),
      value: (place) => back(a + ((place - start) / (end - start)) * (b - a)),
    };
  }

  // Some five round numbers between two places of an axis.
  function numbers(of, start, end) {
    if (of.kind === "names") return [];
    const [low, high] = [of.value(start), of.value(end)].sort((a, b) => a - b);
    if (of.kind === "log" && high > 20 * low) {
      const decades = [];
      for (let k = Math.ceil(Math.log10(low)); 10 ** k < high; k++) decades.push(10 ** k);
      return decades;
    }
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((multiple) => power * multiple >= rough);
    const found = [];
    for (let k = Math.ceil(low / step); k * step < high; k++) found.push(k * step);
    return found;
  }

  function plain(value) {
    return Number(value.toPrecision(6)).toLocaleString("en", { maximumSignificantDigits: 6 });
  }

  function zoom(factor, clientX, clientY) {
    const { svg, box } = view;
    const width = Math.min(whole[2], Math.max(box[2] / factor, whole[2] / MOST_ZOOM));
    const at = new DOMPoint(clientX, clientY).matrixTransform(svg.getScreenCTM().inverse());
    const share = width / box[2];
    move([at.x - (at.x - box[0]) * share, at.y - (at.y - box[1]) * share, width, box[3] * share]);
  }

  function zoomMiddle(factor) { // 0: the whole figure
    hush();
    const box = view.svg.getBoundingClientRect();
    if (!factor) look([...whole]);
    else zoom(factor, box.x + box.width / 2, box.y + box.height / 2);
  }

  // Moves what is seen to a point that is outside.
  function reveal([px, py]) {
    const [x, y, width, height] = view.box;
    if (px > x && px < x + width && py > y && py < y + height) return;
    move([px - width / 2, py - height / 2, width, height]);
  }

  function move([x, y, width, height]) {
    const inside = (value, start, room) => Math.max(start, Math.min(value, start + room));
    look([
      inside(x, whole[0], whole[2] - width), inside(y, whole[1], whole[3] - height), width, height,
    ]);
  }

  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || "close" in event.target.dataset) return dialog.close();
    if ("zoom" in event.target.dataset) zoomMiddle(Number(event.target.dataset.zoom));
  });
  dialog.addEventListener("keydown", (event) => {
    const factor = { "+": 1.5, "=": 1.5, "-": 0.667, "0": 0 }[event.key];
    if (factor !== undefined && !event.ctrlKey && !event.metaKey) zoomMiddle(factor);
  });
  dialog.addEventListener("close", close);
  dialog.addEventListener("wheel", (event) => {
    event.preventDefault();
    hush();
    zoom(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
  }, { passive: false });

  // One pointer moves the figure, two zoom it.
  const held = new Map();
  dialog.addEventListener("pointerdown", (event) => {
    if (event.target.closest("svg")) held.set(event.pointerId, [event.clientX, event.clientY]);
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"])
    dialog.addEventListener(name, (event) => held.delete(event.pointerId));
  dialog.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before || !view) return;
    const now = [event.clientX, event.clientY], others = [...held.keys()];
    const other = held.get(others.find((id) => id !== event.pointerId));
    const gap = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
    if (other) zoom(gap(now, other) / Math.max(1, gap(before, other)), ...other);
    else {
      const pixel = 1 / view.svg.getScreenCTM().a, [x, y, width, height] = view.box;
      move([x - (now[0] - before[0]) * pixel, y - (now[1] - before[1]) * pixel, width, height]);
    }
    held.set(event.pointerId, now);
  });

  document.body.append(tip, dialog);
  for (const figure of document.querySelectorAll("figure[data-points]")) {
    const svg = figure.querySelector("svg"), button = document.createElement("button");
    listen(figure, svg);
    button.className = "enlarge";
    button.type = "button";
    button.textContent = "Enlarge";
    button.addEventListener("click", () => open(figure, svg));
    figure.querySelector("figcaption").append(" ", button);
  }
})();
