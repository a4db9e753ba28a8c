"""What a screenshot shows, and whether what is on a page fits."""

import io
from typing import Any

import numpy as np
from matplotlib.image import imread

VISIBLE_CHANGE = 0.05
"""Of a colour's full range: less is not seen, and antialiasing may do it."""


def pixels(element: Any) -> np.ndarray:
    """An element's screenshot, rows × columns × RGB from 0 to 1."""
    return imread(io.BytesIO(element.screenshot()))[..., :3]


def painted_part(element: Any) -> float:
    """The part of an element's pixels that differ from its upper left corner."""
    seen = pixels(element)
    return _differing(seen, seen[0, 0])


def changed_part(before: np.ndarray, after: np.ndarray) -> float:
    """The part of the pixels that differ; all of them if the size does."""
    return 1.0 if before.shape != after.shape else _differing(before, after)


def _differing(one: np.ndarray, other: np.ndarray) -> float:
    return float((abs(one - other) > VISIBLE_CHANGE).any(axis=-1).mean())


def wait_for_size(element: Any) -> None:
    """Until the element keeps its place and size from frame to frame: widgets redraw some time after the width."""
    element.evaluate(
        """async e => {
            const place = () => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height].join(); };
            for (let last = '', same = 0; same < 5; ) {
                const now = place();
                same = now === last ? same + 1 : 0;
                last = now;
                await new Promise(requestAnimationFrame);
            }
        }"""
    )


CUT_OFF = """root => {
    const room = root.getBoundingClientRect();
    const isSeen = e => e.checkVisibility({visibilityProperty: true}) && e.getBoundingClientRect().width > 0;
    const scrolls = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
    const name = e => `${e.tagName.toLowerCase()}.${[...e.classList].join('.')} "${e.textContent.trim().slice(0, 40)}"`;
    const found = [];
    for (const e of root.querySelectorAll('.helixlab-view *')) {
        if (!isSeen(e) || e.closest('svg svg, select, [hidden]')) continue;
        const box = e.getBoundingClientRect();
        let frame = e.parentElement;
        while (frame !== root && !scrolls(frame)) frame = frame.parentElement;
        if (frame === root && (box.right > room.right + 1 || box.left < room.left - 1))
            found.push(`${name(e)} reaches from ${box.left} to ${box.right}; there is ${room.left} to ${room.right}`);
        const isText = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (isText && !scrolls(e) && !(e instanceof SVGElement) && getComputedStyle(e).display !== 'inline'
            && e.scrollWidth > e.clientWidth + 1)
            found.push(`${name(e)} is ${e.clientWidth} px wide, its text ${e.scrollWidth}`);
    }
    return found;
}"""
"""What sticks out of a cell's output sideways, or holds a text that it is too narrow for. What scrolls may."""

OVERLAPPING = """root => {
    const made = 'button, input:not([type=range]), select, label, h3, progress, canvas, .bqplot, table';
    const seen = [...root.querySelectorAll(made)].filter(e =>
        e.closest('.helixlab-view') && e.checkVisibility({visibilityProperty: true, opacityProperty: true})
        && !e.parentElement.closest('.bqplot, table, label')
        && !e.closest('.helixlab-plot > :not(.bqplot)'));
    const boxes = seen.map(e => [e, e.getBoundingClientRect()]).filter(([, box]) => box.width > 2 && box.height > 2);
    const name = e => `${e.tagName.toLowerCase()}.${[...e.classList].join('.')} "${e.textContent.trim().slice(0, 30)}"`;
    const found = [];
    boxes.forEach(([one, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
        const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (width > 2 && height > 2 && !one.contains(other) && !other.contains(one))
            found.push(`${name(one)} and ${name(other)} share ${width.toFixed(0)} × ${height.toFixed(0)} px`);
    }));
    return found;
}"""
"""Controls, headings and pictures that lie on each other."""


def misplaced(area: Any) -> list[str]:
    """What is cut off or overlaps in a cell's output, in words; empty if all is well."""
    wait_for_size(area)
    return [*area.evaluate(CUT_OFF), *area.evaluate(OVERLAPPING)]


COUNT_CONTEXTS = """() => {
    window.contexts = [];
    const original = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...options) {
        const context = original.call(this, kind, ...options);
        if (/webgl/.test(kind) && context && !window.contexts.includes(context)) window.contexts.push(context);
        return context;
    };
}"""
"""From now on, who makes a WebGL context is written down."""

LEAST_CONTRAST = 4.5
"""Of text and ground, for normal sizes: Web Content Accessibility Guidelines 2.2, 1.4.3."""

CONTRASTS = """root => {
    const brush = Object.assign(document.createElement('canvas'), {width: 1, height: 1})
        .getContext('2d', {willReadFrequently: true});
    const paint = layers => {
        brush.clearRect(0, 0, 1, 1);
        for (const colour of layers) { brush.fillStyle = colour; brush.fillRect(0, 0, 1, 1); }
        return [...brush.getImageData(0, 0, 1, 1).data];
    };
    const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const grounds = e => {
        const layers = [];
        for (; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor;
            layers.unshift(colour);
            if (paint([colour])[3] === 255) break;
        }
        return layers;
    };
    const found = [];
    for (const e of root.querySelectorAll('.helixlab-view *')) {
        const isText = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!isText || e.closest(':disabled, option, .object_grp')
            || !e.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
        const style = getComputedStyle(e);
        const layers = grounds(e);
        const [dark, light] = [paint(layers), paint([...layers, e instanceof SVGElement ? style.fill : style.color])]
            .map(luminance).sort((a, b) => a - b);
        found.push([(light + 0.05) / (dark + 0.05), `${e.tagName} "${e.textContent.trim().slice(0, 30)}"`]);
    }
    return found;
}"""
"""How much each text stands out from the colours behind it. What lies on pictures has a rim, and is drawn anyway."""


def hard_to_read(area: Any) -> list[str]:
    """Texts that hardly stand out from their ground, with their contrast; empty if all is well."""
    return [f"{text}: {contrast:.2f}" for contrast, text in area.evaluate(CONTRASTS) if contrast < LEAST_CONTRAST]
