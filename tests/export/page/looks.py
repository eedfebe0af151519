"""What a person would notice of a page in a browser: text that is hard to read, or out of place."""

# Every element with text of its own: its contrast with the background that is seen behind it (WCAG 2).
_FAINT = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (of255) => {
    const value = of255 / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a > 0.99) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const own = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const contrast = (element) => {
    const colours = [parse(getComputedStyle(element).color), behind(element)];
    const [brighter, darker] = colours.map(luminance).sort((a, b) => b - a);
    return (brighter + 0.05) / (darker + 0.05);
  };
  return [...document.body.querySelectorAll("*")]
    .filter((element) => own(element) && element.checkVisibility())
    .map((element) => [contrast(element), element.className, element.textContent.slice(0, 40)])
    .sort((a, b) => a[0] - b[0]);
}"""

_OUTSIDE = """() => {
  const width = document.documentElement.clientWidth;
  return [...document.body.querySelectorAll("*")]
    .filter((element) => element.checkVisibility() && !element.closest(".skip, .unseen"))
    .map((element) => [element.getBoundingClientRect(), element])
    .filter(([box]) => box.width && (box.left < -0.5 || box.right > width + 0.5))
    .map(([box, element]) => [element.tagName, element.className, box.left, box.right]);
}"""

_SPILLED = """() => [...document.querySelectorAll(".card")]
  .filter((card) => card.scrollWidth > card.clientWidth + 1).map((card) => card.textContent)"""


def check_looks(page, width):
    """Nothing is faint, beside the window, or beside its card."""
    contrasts = page.evaluate(_FAINT)
    assert len(contrasts) > 20
    assert contrasts[0][0] >= 4.5, contrasts[:5]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(_OUTSIDE) == []
    assert page.evaluate(_SPILLED) == []
