"""The look of a report: system fonts, and colours by name, so that dark and paper are one block."""

LIGHT = {
    "paper": "#fbfaf6",
    "card": "#ffffff",
    "ink": "#1c2327",
    "quiet": "#55606a",
    "rule": "#dcd8cd",
    "track": "#ebe8de",
    "accent": "#0f6468",
    "pale": "#a9cfcd",
    "edge": "#3f8a8b",
    "bad": "#a3291d",
    "badpaper": "#fbecea",
    "warn": "#8a4f10",
    "warnpaper": "#fbf1e1",
}
DARK = {
    "paper": "#13181b",
    "card": "#1a2124",
    "ink": "#e8e5dd",
    "quiet": "#a3adb2",
    "rule": "#384347",
    "track": "#2a3337",
    "accent": "#62c2bf",
    "pale": "#2c6566",
    "edge": "#4d9b9a",
    "bad": "#f2968a",
    "badpaper": "#33201e",
    "warn": "#e0ab6a",
    "warnpaper": "#2f2619",
}
PRINT = LIGHT | {
    "paper": "#ffffff",
    "ink": "#000000",
    "quiet": "#444444",
    "rule": "#c4c4c4",
    "track": "#ececec",
}


def _colours(palette: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in palette.items())


STYLE = (
    f"""
:root {{ {_colours(LIGHT)} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_colours(DARK)} }} }}
@media print {{ :root {{ {_colours(PRINT)} }} }}
"""
    + """
* { box-sizing: border-box; }
html { color-scheme: light dark; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "PingFang SC",
    "Microsoft YaHei", "Noto Sans CJK SC", "WenQuanYi Micro Hei", sans-serif;
}
main { max-width: 1000px; margin: 0 auto; padding: 40px 32px 72px; }
article + article { border-top: 4px double var(--rule); margin-top: 64px; padding-top: 40px; }
h1, .number { font-family: Charter, "Iowan Old Style", Georgia, "Noto Serif", "DejaVu Serif",
  serif; }
:lang(zh) h1 { font-family: "Songti SC", SimSun, "Noto Serif CJK SC", sans-serif; }
h1 { font-size: 38px; line-height: 1.2; font-weight: 600; margin: 6px 0 12px; }
h2 { font-size: 23px; line-height: 1.3; font-weight: 650; margin: 0 0 10px; }
h3 { font-size: 16px; font-weight: 650; margin: 26px 0 6px; }
p { margin: 0 0 12px; max-width: 76ch; }
a { color: var(--accent); }
bdi { display: inline-block; max-width: 100%; overflow: clip; vertical-align: bottom;
  overflow-wrap: anywhere; }
code { font: 0.88em/1.5 ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.no { color: var(--accent); font-variant-numeric: tabular-nums; margin-right: 8px; }
.kicker { color: var(--accent); font-size: 14px; font-weight: 600; letter-spacing: .04em;
  margin: 0; }
.lead { font-size: 18px; color: var(--quiet); }
.quiet { color: var(--quiet); }
.small { font-size: 14px; }
.tongues { display: flex; gap: 20px; font-size: 14px; margin-bottom: 28px; }
section { border-top: 1px solid var(--rule); margin-top: 44px; padding-top: 26px; }
.banner { border: 1px solid var(--rule); border-left: 6px solid var(--accent); border-radius: 4px;
  background: var(--card); padding: 16px 22px 10px; margin: 20px 0; }
.banner h2 { font-size: 21px; margin: 0 0 6px; }
.banner ol { margin: 0 0 12px; padding-left: 26px; }
.banner.bad { border-color: var(--bad); background: var(--badpaper); }
.banner.bad h2 { color: var(--bad); }
.banner.warn { border-color: var(--warn); background: var(--warnpaper); }
.banner.warn h2 { color: var(--warn); font-size: 40px; line-height: 1.15; letter-spacing: .05em; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); margin: 24px 0;
  border: 1px solid var(--rule); border-radius: 6px; background: var(--card); }
.tile { padding: 14px 18px 12px; border-left: 1px solid var(--rule); min-width: 0; }
.tile:first-child { border-left: 0; }
.tile h3 { font-size: 13px; color: var(--quiet); font-weight: 600; margin: 0; }
.tile p { font-size: 13.5px; line-height: 1.45; color: var(--quiet); margin: 0; }
.tile p.number { font-size: 29px; line-height: 1.3; color: var(--ink); white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.contents { columns: 2; column-gap: 48px; list-style: none; padding: 0; margin: 8px 0 0;
  font-size: 15px; }
.contents li { padding: 2px 0; break-inside: avoid; }
.contents a { color: var(--ink); text-decoration: none; }
.contents a:hover { text-decoration: underline; }
figure { margin: 14px 0 10px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--ink); font-size: 13px; }
svg .tick { fill: var(--quiet); font-size: 12px; font-variant-numeric: tabular-nums; }
svg .middle { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .value { fill: var(--quiet); font-variant-numeric: tabular-nums; }
svg .name { font-weight: 550; }
.rule { stroke: var(--rule); stroke-width: 1; }
.axis, .leader { stroke: var(--quiet); stroke-width: 1; }
.limit { stroke: var(--warn); stroke-width: 1.5; stroke-dasharray: 7 4; }
svg .limittext { fill: var(--warn); }
.pale { fill: var(--pale); }
.edge { fill: none; stroke: var(--edge); stroke-width: 1.5; stroke-dasharray: 2 2; }
svg .edgetext { fill: var(--ink); }
.curve { fill: none; stroke: var(--accent); stroke-width: 2.5; stroke-linejoin: round; }
svg .curvetext { fill: var(--accent); font-weight: 650; }
.track { fill: var(--track); }
.fill { fill: var(--accent); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 24px; list-style: none; padding: 0;
  margin: 0 0 14px; font-size: 13.5px; color: var(--quiet); }
.legend i { display: inline-block; width: 14px; height: 12px; margin-right: 8px; }
.legend .solid { background: var(--accent); }
.legend .faint { background: var(--pale); }
.scroll { overflow-x: auto; margin: 20px 0; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; line-height: 1.45; }
caption { text-align: left; font-weight: 650; font-size: 15px; padding: 0 0 6px; }
th, td { text-align: left; vertical-align: top; padding: 6px 14px 6px 0; font-weight: 400;
  border-bottom: 1px solid var(--rule); unicode-bidi: isolate; }
th:last-child, td:last-child { padding-right: 0; }
thead th { font-size: 13px; font-weight: 600; color: var(--quiet); vertical-align: bottom; }
tbody th { overflow-wrap: anywhere; }
tfoot th, tfoot td { font-weight: 650; border-bottom: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap;
  padding-right: 22px; }
.t { font-variant-numeric: tabular-nums; white-space: nowrap; }
.w { min-width: 15em; }
.narrow { max-width: 480px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
.pairs { margin: 20px 0; }
.pairs th { width: 11em; color: var(--quiet); overflow-wrap: normal; }
.pairs td { overflow-wrap: anywhere; }
.mark { white-space: nowrap; font-weight: 600; }
.mark.fails, .mark.missing { color: var(--bad); }
.mark.holds, .mark.present { color: var(--accent); }
.mark.open, .mark.partly, .mark.unanchored { color: var(--warn); }
.mark.not-applicable { color: var(--quiet); font-weight: 400; }
.claims td:last-child, .claims th:last-child { width: 9em; }
.clauses { table-layout: fixed; min-width: 640px; }
.clauses th:first-child { width: 20%; }
.clauses th:nth-child(2) { width: 31%; }
.clauses ul { list-style: none; margin: 2px 0 0; padding: 0; font-size: 13.5px; }
.clauses li { padding-left: 1.3em; text-indent: -1.3em; }
.regime { margin-top: 34px; }
.regime h3 { margin-bottom: 4px; }
.limits { padding-left: 22px; }
.limits li { margin-bottom: 8px; max-width: 76ch; }
pre { background: var(--card); border: 1px solid var(--rule); border-radius: 4px;
  padding: 12px 16px; margin: 12px 0; overflow-x: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; }
footer { border-top: 1px solid var(--rule); margin-top: 44px; padding-top: 16px;
  font-size: 13.5px; color: var(--quiet); }
footer p { max-width: none; overflow-wrap: anywhere; }
@media screen and (max-width: 760px) {
  main { padding: 24px 16px 48px; }
  h1 { font-size: 29px; }
  .banner.warn h2 { font-size: 29px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tile:nth-child(3) { border-left: 0; }
  .tile:nth-child(n+3) { border-top: 1px solid var(--rule); }
  .contents { columns: 1; }
  .pairs th { width: 8em; }
  figure { overflow-x: auto; }
  figure svg { min-width: 620px; }
}
@media print {
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  @page {
    size: A4; margin: 15mm 15mm 18mm;
    @bottom-right { content: counter(page) " / " counter(pages); font: 9pt sans-serif; }
  }
  body { font-size: 10pt; line-height: 1.42; }
  main { max-width: none; padding: 0; }
  .tongues, .contents, .contents-title { display: none; }
  article + article { border: 0; margin: 0; padding: 0; break-before: page; }
  h1 { font-size: 22pt; margin: 2px 0 4px; }
  h2 { font-size: 14pt; margin-bottom: 6px; }
  h3 { font-size: 10.5pt; margin-top: 14px; }
  p { margin-bottom: 7px; max-width: none; }
  .lead { font-size: 11pt; }
  .banner { padding: 9px 14px 4px; margin: 10px 0; }
  .banner h2 { font-size: 13pt; }
  .banner.warn h2 { font-size: 24pt; }
  .tiles { margin: 12px 0; }
  .tile { padding: 8px 11px; }
  .tile h3, .tile p { font-size: 8pt; }
  .tile p.number { font-size: 17pt; }
  section { margin-top: 22px; padding-top: 14px; }
  section.summary { border-top: 0; margin-top: 6px; padding-top: 0; break-after: page; }
  table { font-size: 8.5pt; line-height: 1.35; }
  caption { font-size: 9.5pt; break-after: avoid; }
  thead th { font-size: 8pt; }
  thead { display: table-header-group; }
  th, td { padding: 3px 9px 3px 0; }
  .scroll { overflow: visible; margin: 12px 0; }
  .clauses ul, footer, .small { font-size: 8pt; }
  .limits li { margin-bottom: 4px; max-width: none; }
  .summary .limits { font-size: 8.5pt; margin: 0; }
  .w { min-width: 17em; }
  figure, tr, .tiles, .banner, li, pre { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
}
"""
)
