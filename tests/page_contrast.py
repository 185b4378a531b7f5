"""How much what a page's figures show stands out from what is behind it, as WCAG 2.2 counts it."""

FAINT_PARTS = """
(() => {
  const numbers = color => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) =>
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const contrast = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const color = numbers(getComputedStyle(element).backgroundColor);
      if (color.length === 3) return color;
    }
    return [255, 255, 255];
  };
  const gridOf = svg => {
    const probe = svg.parentElement.appendChild(document.createElement("i"));
    probe.style.color = "var(--grid)";
    const color = getComputedStyle(probe).color;
    probe.remove();
    return color;
  };
  const seen = (style, paint, back) => {
    const color = numbers(style[paint]);
    if (style[paint] === "none" || color.length < 3) return 1;
    const share = style[paint + "Opacity"] * style.opacity * (color[3] ?? 1);
    return contrast(color.slice(0, 3).map((v, i) => v * share + back[i] * (1 - share)), back);
  };
  const nothing = "rgba(0, 0, 0, 0)", faint = [];
  for (const svg of document.querySelectorAll("svg[role=img]")) {
    const back = behind(svg), paper = `rgb(${back.join(", ")})`, grid = gridOf(svg);
    for (const part of svg.querySelectorAll("text, path, use")) {
      if (part.closest("defs")) continue;
      const style = getComputedStyle(part), isText = part.tagName === "text";
      const paints = isText ? ["fill"] : ["fill", "stroke"];
      const used = paints.filter(paint => style[paint] !== "none");
      // The lines of a grid and the paper below are no content; a band has its median drawn in it.
      const isQuiet = used.every(paint => [grid, paper, nothing].includes(style[paint]))
        || Math.min(style.fillOpacity, style.opacity) < 0.7 && style.stroke === "none";
      if (!isText && isQuiet) continue;
      const most = Math.max(...used.map(paint => seen(style, paint, back)));
      if (most < (isText ? 4.5 : 3))
        faint.push([svg.ariaLabel, part.tagName, part.getAttribute("style"), most]);
    }
  }
  return faint;
})()
"""
"""A script that returns the texts of figures below 4.5 : 1, and the lines and marks below 3 : 1."""
