"""Panels of horizontal bars as SVG: a median with its spread, and what it is against the reference."""

from html import escape

WIDTH, LABEL, BARS, ROW, GAP = 900, 200, 460, 19, 44
OURS, THEIRS = "#4477aa", "#bbbbbb"


def panel(title, bars, top):
    most = max(figure["max"] for _, figure, _, _ in bars)
    lines = [f'<text x="20" y="{top + 14}" font-size="14">{escape(title)}</text>']
    for row, (name, figure, ratio, digits) in enumerate(bars):
        y = top + 24 + row * ROW
        width, low, high = (BARS * figure[key] / most for key in ("median", "min", "max"))
        lines.append(f'<text x="{LABEL}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
        lines.append(f'<rect x="{LABEL + 8}" y="{y + 2}" width="{max(width, 1):.1f}" height="{ROW - 5}" fill="{OURS if name.startswith("keepgate") else THEIRS}"/>')
        if high - low > 1:
            lines.append(f'<path d="M{LABEL + 8 + low:.1f} {y + 9}H{LABEL + 8 + high:.1f}" stroke="black"/>')
        lines.append(f'<text x="{LABEL + 16 + max(width, high):.1f}" y="{y + 12}">{figure["median"]:.{digits}f}  ({ratio:.2f}×)</text>')
    return lines, top + 24 + len(bars) * ROW + GAP - 24


def panels(all, note):
    """The panels below one another; each a title and its bars: name, summary, ratio, digits."""
    lines, top = [], 34
    for title, bars in all:
        drawn, top = panel(title, bars, top)
        lines += drawn
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{top}" fill="white"/>', f'<text x="20" y="20" fill="#555555">{escape(note)}</text>']
    return "\n".join(head + lines + ["</svg>", ""])
