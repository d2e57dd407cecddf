// The style of the page: light and dark, wide and narrow, print and forced colours. No font, image or file is loaded.
// Its digest stands in the content security policy, so it is used byte for byte.

export const PAGE_STYLE = `
:root{color-scheme:light dark;--bg:#f4f6f8;--card:#fff;--text:#1c2127;--quiet:#57616d;--line:#d9dfe5;--link:#0b57a8;
--ok:#12703a;--ok-bg:#e2f4e8;--warn:#7f4f00;--warn-bg:#fdf1d8;--bad:#b01224;--bad-bg:#fde7e9;--bar:#e4e8ec}
@media(prefers-color-scheme:dark){:root{--bg:#0f1317;--card:#171c22;--text:#e4e9ee;--quiet:#9aa6b2;--line:#2b333c;--link:#7ab7ff;
--ok:#6fd596;--ok-bg:#12301e;--warn:#f2c262;--warn-bg:#35280d;--bad:#ff9aa2;--bad-bg:#401a1f;--bar:#2b333c}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;-webkit-text-size-adjust:100%}
header,main,footer{max-width:76rem;margin:0 auto;padding:0 1.25rem}
a{color:var(--link);text-underline-offset:.15em}
:focus-visible{outline:3px solid var(--link);outline-offset:2px;border-radius:3px}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:.5rem;z-index:1;background:var(--card);padding:.4rem .8rem}
code{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;overflow-wrap:anywhere}
.top{border-top:5px solid var(--tone)}
.tone-ok{--tone:var(--ok);--tone-bg:var(--ok-bg)}.tone-warn{--tone:var(--warn);--tone-bg:var(--warn-bg)}.tone-bad{--tone:var(--bad);--tone-bg:var(--bad-bg)}
header{padding-top:1.6rem}
.brand{margin:0;color:var(--quiet);font-size:.8rem;letter-spacing:.06em;text-transform:uppercase}
h1{display:flex;flex-wrap:wrap;align-items:center;gap:.3rem .8rem;margin:.1rem 0 .2rem;font-size:1.75rem;line-height:1.25;overflow-wrap:anywhere}
h2{margin:0 0 .7rem;font-size:1.05rem}
.verdict{margin:0;font-size:1.05rem}
.pill{display:inline-flex;align-items:center;gap:.4em;padding:.1rem .65rem;border-radius:99px;background:var(--tone-bg);color:var(--tone);font-size:.85rem;font-weight:650;line-height:1.6;white-space:nowrap}
h1 .pill{font-size:.95rem}
.pill::before{content:"";width:.6em;height:.6em;border-radius:50%;background:currentColor}
.tone-warn.pill::before{border-radius:1px;transform:rotate(45deg) scale(.9)}.tone-bad.pill::before{border-radius:1px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.8rem;margin:1.3rem 0 0;padding:0;list-style:none}
.tile{display:block;height:100%;padding:.75rem 1rem;background:var(--card);border:1px solid var(--line);border-left:4px solid var(--tone);border-radius:8px;color:inherit;text-decoration:none}
a.tile:hover{border-color:var(--tone)}
.tile span{display:block;color:var(--quiet);font-size:.85rem}.tile strong{display:block;font-size:1.15rem;line-height:1.35}
section{margin-top:1.3rem;padding:1.1rem 1.25rem;background:var(--card);border:1px solid var(--line);border-radius:8px;scroll-margin-top:1rem}
section.problems{border-left:4px solid var(--tone)}
.problems ul{margin:0;padding:0;list-style:none}.problems li+li{margin-top:.7rem}
table{width:100%;border-collapse:collapse}
th{padding:0 1rem .45rem 0;color:var(--quiet);font-size:.8rem;font-weight:600;text-align:left}
td{padding:.65rem 1rem .65rem 0;border-top:1px solid var(--line);vertical-align:top}
td:last-child,th:last-child{padding-right:0}
.host{font-weight:650}.host code{font-size:.95em}
.registry{min-width:15rem}
.quiet{color:var(--quiet)}.small{font-size:.86rem}.nowrap{white-space:nowrap}.line{display:block}
.remedy{margin:.3rem 0 0;padding-left:1.2em;font-weight:600;text-indent:-1.2em}.remedy::before{content:"\\2192";display:inline-block;width:1.2em;color:var(--tone,var(--link));text-indent:0}
.text{margin:0;overflow-wrap:anywhere}
details{margin-top:.35rem}summary{width:fit-content;color:var(--link);font-size:.86rem;cursor:pointer}
.evidence{margin:.3rem 0 0;padding:.5rem .7rem;background:var(--bg);border-radius:6px;list-style:none}
.plain{margin:0;padding:0;list-style:none}
.bar{display:block;width:100%;min-width:7rem;height:8px;margin-top:.3rem}
.bar .track{fill:var(--bar)}.bar .left{fill:var(--tone)}
.left-text{color:var(--tone);font-weight:600}.tone-ok .left-text{color:inherit;font-weight:inherit}
.timeline{margin:0;padding:0;list-style:none}
.timeline li{position:relative;padding:0 0 1rem 1.6rem}
.timeline li::before{content:"";position:absolute;left:.15rem;top:.45rem;width:.7rem;height:.7rem;border-radius:50%;background:var(--tone)}
.timeline li::after{content:"";position:absolute;left:.44rem;top:1.3rem;bottom:-.3rem;width:2px;background:var(--line)}
.timeline li:last-child{padding-bottom:0}.timeline li:last-child::after{display:none}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.35rem 1.2rem;margin:0}dt{color:var(--quiet)}dd{margin:0;overflow-wrap:anywhere}
footer{padding-top:1.3rem;padding-bottom:2rem;color:var(--quiet);font-size:.86rem}
footer p{margin:.2rem 0}
.unanswered{position:sticky;bottom:0;margin:0;padding:.6rem 1.25rem;background:var(--bad-bg);color:var(--bad);font-weight:600;text-align:center}.unanswered:empty{display:none}
@media(max-width:44rem){
body{font-size:16px}header,main,footer{padding-left:.8rem;padding-right:.8rem}section{padding:.9rem}h1{font-size:1.45rem}
.tiles{grid-template-columns:1fr 1fr;gap:.6rem}.tile{padding:.6rem .75rem}.tile strong{font-size:1rem}
table,tbody,tr,td{display:block}thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
tr+tr{margin-top:.8rem;padding-top:.8rem;border-top:1px solid var(--line)}
td{padding:.2rem 0;border:0}.registry{min-width:0}td[data-label]::before{content:attr(data-label);display:block;color:var(--quiet);font-size:.8rem}
dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}}
@media(forced-colors:active){.pill,.tile,section{border:1px solid}.bar .left{fill:CanvasText}.bar .track{fill:GrayText}}
@media print{body{background:#fff}section,.tile{break-inside:avoid}footer .controls{display:none}}
`
