// The unified format of diff: https://www.gnu.org/software/diffutils/manual/html_node/Detailed-Unified.html

const CONTEXT = 3
/** Above this the middle of two files is shown as replaced: finding the shortest way would take seconds. */
const MOST_CELLS = 4_000_000

type Step = { readonly sign: ' ' | '-' | '+'; readonly line: string }

/** What turns `before` into `after`, without the two lines that name the files; empty where they are the same. */
export function unifiedDiff(before: string, after: string): string {
  if (before === after) return ''
  const steps = stepsBetween(linesOf(before), linesOf(after))
  return hunksOf(steps)
    .map((range) => hunkText(steps, range))
    .join('')
}

/** Each with its line end; the last line may have none. */
function linesOf(text: string): readonly string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? []
}

function stepsBetween(a: readonly string[], b: readonly string[]): readonly Step[] {
  let head = 0
  while (head < a.length && head < b.length && a[head] === b[head]) head++
  let tail = 0
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++
  const same = (line: string): Step => ({ sign: ' ', line })
  return [
    ...a.slice(0, head).map(same),
    ...middleSteps(a.slice(head, a.length - tail), b.slice(head, b.length - tail)),
    ...a.slice(a.length - tail).map(same),
  ]
}

/** By the longest common subsequence. */
function middleSteps(a: readonly string[], b: readonly string[]): readonly Step[] {
  const removed = (line: string): Step => ({ sign: '-', line })
  const added = (line: string): Step => ({ sign: '+', line })
  if (a.length * b.length > MOST_CELLS) return [...a.map(removed), ...b.map(added)]
  const width = b.length + 1
  const longest = new Uint32Array((a.length + 1) * width)
  const at = (i: number, j: number) => longest[i * width + j] ?? 0
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      longest[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1))
  const steps: Step[] = []
  let [i, j] = [0, 0]
  while (i < a.length || j < b.length) {
    const [left, right] = [a[i], b[j]]
    if (left !== undefined && left === right) {
      steps.push({ sign: ' ', line: left })
      i++
      j++
    } else if (left !== undefined && (right === undefined || at(i + 1, j) >= at(i, j + 1))) {
      steps.push(removed(left))
      i++
    } else if (right !== undefined) {
      steps.push(added(right))
      j++
    }
  }
  return steps
}

type Range = { readonly from: number; readonly to: number }

/** Changes with the lines around them; those whose surroundings meet are one. */
function hunksOf(steps: readonly Step[]): readonly Range[] {
  const ranges: { from: number; to: number }[] = []
  for (const [index, { sign }] of steps.entries()) {
    if (sign === ' ') continue
    const [from, to] = [Math.max(0, index - CONTEXT), Math.min(steps.length, index + CONTEXT + 1)]
    const last = ranges.at(-1)
    if (last !== undefined && from <= last.to) last.to = to
    else ranges.push({ from, to })
  }
  return ranges
}

function hunkText(steps: readonly Step[], { from, to }: Range): string {
  const count = (part: readonly Step[], other: '+' | '-') => part.filter(({ sign }) => sign !== other).length
  const [above, part] = [steps.slice(0, from), steps.slice(from, to)]
  const side = (other: '+' | '-') => {
    const lines = count(part, other)
    const start = count(above, other) + (lines === 0 ? 0 : 1)
    return lines === 1 ? `${start}` : `${start},${lines}`
  }
  const lines = part.map(({ sign, line }) =>
    line.endsWith('\n') ? sign + line : `${sign}${line}\n\\ No newline at end of file\n`,
  )
  return `@@ -${side('+')} +${side('-')} @@\n${lines.join('')}`
}
