"""The look of the run's page. System fonts only; colours by name, so that dark is one block."""

STYLE = """
:root {
  --paper: #fbfaf6; --card: #ffffff; --ink: #1c2327; --quiet: #5b666d; --rule: #dcd8cd;
  --track: #ebe8de; --accent: #0f6468; --pale: #9cc7c5; --warm: #a8641a; --alone: #6a5aa0;
  --void: #b23b2e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #13181b; --card: #1a2124; --ink: #e8e5dd; --quiet: #9aa6ab; --rule: #323c40;
    --track: #2a3337; --accent: #58b9b6; --pale: #2f6f70; --warm: #dba25c; --alone: #b3a6e6;
    --void: #ec8274;
  }
}
* { box-sizing: border-box; }
html { color-scheme: light dark; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 1040px; margin: 0 auto; padding: 56px 32px 72px; }
h1, .number { font-family: Charter, "Iowan Old Style", Georgia, "Noto Serif", serif; }
h1 { font-size: 42px; line-height: 1.15; font-weight: 600; margin: 8px 0 14px; }
h2 { font-size: 20px; font-weight: 650; margin: 0 0 4px; }
h3 { font-size: 15px; font-weight: 650; margin: 22px 0 6px; }
p { margin: 0 0 12px; max-width: 78ch; }
.kicker { color: var(--accent); font-size: 14px; font-weight: 600; letter-spacing: .04em; }
.lead { font-size: 18px; color: var(--quiet); }
.quiet, section > p, .pair > div > p { color: var(--quiet); }
section { border-top: 1px solid var(--rule); margin-top: 40px; padding-top: 28px; }
.tiles {
  display: grid; grid-template-columns: repeat(4, 1fr); gap: 0; padding: 0; margin-top: 32px;
  border: 1px solid var(--rule); border-radius: 8px; background: var(--card);
}
.tile { padding: 18px 20px 14px; border-left: 1px solid var(--rule); }
.tile:first-child { border-left: 0; }
.tile h2 { font-size: 13px; color: var(--quiet); font-weight: 600; margin: 0; }
.tile .number { font-size: 32px; line-height: 1.25; margin: 2px 0 6px; white-space: nowrap; }
.tile p { font-size: 13.5px; line-height: 1.45; color: var(--quiet); margin: 0; }
.tile p.number { color: var(--ink); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 24px 48px; }
figure { margin: 16px 0 8px; }
figcaption { font-size: 14px; font-weight: 600; margin-bottom: 4px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--ink); font-size: 14px; }
svg .tick { fill: var(--quiet); font-size: 12px; }
svg .middle { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .value { font-size: 13px; fill: var(--quiet); font-variant-numeric: tabular-nums; }
svg .name { font-weight: 550; }
.rule { stroke: var(--rule); stroke-width: 1; }
.curve { fill: none; stroke: var(--accent); stroke-width: 2.5; stroke-linejoin: round; }
.point { fill: var(--accent); }
.reference { stroke-width: 1.5; }
.reference.start { stroke: var(--quiet); stroke-dasharray: 2 4; }
.reference.alone { stroke: var(--alone); stroke-dasharray: 7 4; }
.reference.nodp { stroke: var(--warm); stroke-dasharray: 10 3 2 3; }
.leader { stroke: var(--rule); stroke-width: 1; }
svg .sidelabel { font-size: 13px; font-variant-numeric: tabular-nums; }
svg .sidelabel.start { fill: var(--quiet); }
svg .sidelabel.alone { fill: var(--alone); }
svg .sidelabel.nodp { fill: var(--warm); }
svg .sidelabel.federation { fill: var(--accent); font-weight: 650; }
.voidband { fill: var(--void); opacity: .12; }
svg .voidtext { fill: var(--void); font-size: 12px; }
.badge { fill: none; stroke: var(--quiet); stroke-width: 1; }
svg .code { font-size: 12px; font-weight: 650; letter-spacing: .03em; fill: var(--quiet); }
.link { fill: none; stroke: var(--rule); stroke-width: 1.5; }
.cell { stroke-width: 1.5; }
.cell.there { fill: var(--accent); stroke: var(--accent); }
.cell.absent { fill: var(--paper); stroke: var(--rule); }
.cell.voidcell { fill: var(--paper); stroke: var(--void); }
.slash { stroke: var(--void); stroke-width: 1.5; }
.operator { fill: var(--card); stroke: var(--accent); stroke-width: 1.5; }
.track { fill: var(--track); }
.fill, rect.federation { fill: var(--accent); }
.ghost { fill: var(--pale); }
rect.start { fill: var(--quiet); }
rect.alone { fill: var(--alone); }
rect.nodp { fill: var(--warm); }
.legend { display: flex; flex-wrap: wrap; gap: 6px 24px; list-style: none; padding: 0; margin: 0; }
.legend li { font-size: 13.5px; color: var(--quiet); display: flex; align-items: center; gap: 8px; }
.legend i { width: 14px; height: 14px; border-radius: 3px; border: 1.5px solid var(--rule); }
.legend i.there { background: var(--accent); border-color: var(--accent); }
.legend i.voidcell {
  border-color: var(--void);
  background: linear-gradient(to top right, transparent 44%, var(--void) 44% 56%, transparent 56%);
}
.scroll { overflow-x: auto; margin: 18px 0 8px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: right; padding: 7px 12px; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; color: var(--quiet); white-space: nowrap; }
td { font-variant-numeric: tabular-nums; unicode-bidi: isolate; }
th:first-child, td:first-child { text-align: left; padding-left: 0; overflow-wrap: anywhere; }
th:last-child, td:last-child { padding-right: 0; }
td svg { width: 200px; margin-left: auto; }
.facts { list-style: none; margin: 0; padding: 0; font-size: 15px; }
.facts li { padding: 9px 0 9px 16px; border-left: 3px solid var(--rule); margin-bottom: 8px; }
.facts b { display: block; font-weight: 650; }
.facts.void li { border-color: var(--void); }
.facts.left li { border-color: var(--warm); }
.facts.stayed li { border-color: var(--accent); }
.note { font-size: 14px; margin-top: 20px; max-width: none; }
footer { border-top: 1px solid var(--rule); margin-top: 40px; padding-top: 20px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; font-size: 13px; }
dl { margin: 0; color: var(--quiet); }
dd { margin: 0; font-family: ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
@media screen and (max-width: 760px) {
  main { padding: 28px 18px 48px; }
  h1 { font-size: 31px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tile:nth-child(3) { border-left: 0; }
  .tile:nth-child(n+3) { border-top: 1px solid var(--rule); }
  .pair { grid-template-columns: minmax(0, 1fr); }
  td svg { width: 44px; }
  th:first-child, td:first-child { min-width: 108px; overflow-wrap: normal; }
  th, td { padding: 7px 8px; }
  figure.wide { overflow-x: auto; }
  figure.wide svg { width: 680px; }
}
@media print {
  :root {
    --paper: #ffffff; --card: #ffffff; --ink: #000000; --quiet: #444444; --rule: #cccccc;
    --track: #e8e8e8; --accent: #0f6468; --pale: #9cc7c5; --warm: #8a4f10; --alone: #54448c;
    --void: #a02c20;
  }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  @page { margin: 16mm 14mm; }
  body { font-size: 12px; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 28px; }
  h2 { font-size: 16px; }
  .lead { font-size: 14px; }
  .tile { padding: 10px 12px; }
  .tile .number { font-size: 22px; }
  .tile p, table, .facts, .note { font-size: 11px; }
  section { margin-top: 20px; padding-top: 16px; }
  th, td { padding: 4px 8px; }
  figure, tr, .tiles, .facts li { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""
