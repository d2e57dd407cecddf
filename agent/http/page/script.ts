// The one script of the page. Without it the page is the same and reloads itself as a whole; with it only what changed
// is exchanged, so that open details, focus, selection and position stay, and a screen reader hears nothing but a new
// verdict. Its digest stands in the content security policy: no other script can run.

export const REFRESH_SECONDS = 10

export const PAGE_SCRIPT = `
'use strict'
const unanswered = document.getElementById('unanswered')
let since = ''
function exchange(next) {
  document.title = next.title
  document.body.className = next.body.className
  const open = Array.from(document.querySelectorAll('details[open]'), (details) => details.id)
  const focused = document.activeElement === null ? '' : document.activeElement.id
  for (const part of document.querySelectorAll('[data-live]')) {
    const successor = next.getElementById(part.id)
    if (successor === null || successor.innerHTML === part.innerHTML) continue
    part.replaceChildren(...successor.childNodes)
  }
  for (const id of open) document.getElementById(id)?.setAttribute('open', '')
  if (focused !== '' && document.activeElement?.id !== focused) document.getElementById(focused)?.focus({ preventScroll: true })
}
function isBusy() {
  const selection = getSelection()
  return document.hidden || (selection !== null && !selection.isCollapsed)
}
async function refresh() {
  if (isBusy()) return
  try {
    const answer = await fetch(location.pathname, { cache: 'no-store', signal: AbortSignal.timeout(8000) })
    if (!answer.ok) throw new Error(String(answer.status))
    const next = new DOMParser().parseFromString(await answer.text(), 'text/html')
    if (isBusy()) return
    exchange(next)
    since = ''
    unanswered.textContent = ''
  } catch {
    since ||= new Date().toLocaleTimeString()
    unanswered.textContent = 'The agent has not answered since ' + since + '. What you see is an older state.'
  }
}
setInterval(refresh, ${REFRESH_SECONDS * 1000})
document.addEventListener('visibilitychange', refresh)
`
