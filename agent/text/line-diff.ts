// Differences between two texts, and two of them brought together (as diff3 does). Pure. A PEM block counts as one
// line: half a certificate is no difference that anybody made.

import type { LineEdit as Hunk } from '../model/state.ts'

/** With more differing lines than this it is not an edit but another text: comparing them costs the square of it. */
const MOST_DIFFERENCES = 1_000

const PEM_BLOCK = /^-----BEGIN ([A-Z0-9 ]+)-----[^\n]*\n(?:[^-\n][^\n]*\n|\n)*-----END \1-----[^\n]*(?:\n|$)/gm

export function linesOf(text: string): readonly string[] {
  const lines: string[] = []
  let from = 0
  for (const { index, 0: block } of text.matchAll(PEM_BLOCK)) {
    lines.push(...plainLines(text.slice(from, index)), block)
    from = index + block.length
  }
  return [...lines, ...plainLines(text.slice(from))]
}

function plainLines(text: string): readonly string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? []
}

/**
 * What makes `to` out of `from`: hunks in order that do not touch each other; undefined where the texts have too little
 * in common.
 * Source: E. Myers, An O(ND) Difference Algorithm and Its Variations, 1986.
 */
export function differences(from: readonly string[], to: readonly string[]): readonly Hunk[] | undefined {
  let head = 0
  while (head < from.length && head < to.length && from[head] === to[head]) head += 1
  let tail = 0
  while (tail < from.length - head && tail < to.length - head && from.at(-1 - tail) === to.at(-1 - tail)) tail += 1
  const kept = commonLines(from.slice(head, from.length - tail), to.slice(head, to.length - tail))
  if (kept === undefined) return undefined
  const hunks: Hunk[] = []
  let [x, y] = [head, head]
  const ends = { x: from.length - tail, y: to.length - tail }
  for (const same of [...kept.map((each) => ({ x: each.x + head, y: each.y + head })), ends]) {
    if (same.x > x || same.y > y) hunks.push({ start: x, end: same.x, lines: to.slice(y, same.y) })
    ;[x, y] = [same.x + 1, same.y + 1]
  }
  return hunks
}

type Pair = { readonly x: number; readonly y: number }

/** A longest common subsequence, as pairs of positions. */
function commonLines(from: readonly string[], to: readonly string[]): readonly Pair[] | undefined {
  const furthest = new Map<number, number>([[1, 0]])
  const trace: ReadonlyMap<number, number>[] = []
  for (let d = 0; d <= from.length + to.length; d += 1) {
    if (d > MOST_DIFFERENCES) return undefined
    trace.push(new Map(furthest))
    for (let k = -d; k <= d; k += 2) {
      let x = stepsDown(k, d, furthest) ? (furthest.get(k + 1) ?? 0) : (furthest.get(k - 1) ?? 0) + 1
      let y = x - k
      while (x < from.length && y < to.length && from[x] === to[y]) [x, y] = [x + 1, y + 1]
      furthest.set(k, x)
      if (x >= from.length && y >= to.length) return walkBack(trace, from.length, to.length)
    }
  }
  return []
}

function stepsDown(k: number, d: number, furthest: ReadonlyMap<number, number>): boolean {
  return k === -d || (k !== d && (furthest.get(k - 1) ?? 0) < (furthest.get(k + 1) ?? 0))
}

function walkBack(
  trace: readonly ReadonlyMap<number, number>[],
  fromLength: number,
  toLength: number,
): readonly Pair[] {
  const pairs: Pair[] = []
  let [x, y] = [fromLength, toLength]
  for (let d = trace.length - 1; d >= 0; d -= 1) {
    const furthest = trace[d] ?? new Map<number, number>()
    const k = x - y
    const cameFrom = stepsDown(k, d, furthest) ? k + 1 : k - 1
    const beforeX = d === 0 ? 0 : (furthest.get(cameFrom) ?? 0)
    const beforeY = d === 0 ? 0 : beforeX - cameFrom
    while (x > beforeX && y > beforeY) {
      ;[x, y] = [x - 1, y - 1]
      pairs.push({ x, y })
    }
    ;[x, y] = [beforeX, beforeY]
  }
  return pairs.reverse()
}

/** The lines with the hunks applied; undefined where a hunk lies outside of them. */
export function applyHunks(lines: readonly string[], hunks: readonly Hunk[]): readonly string[] | undefined {
  const result: string[] = []
  let at = 0
  for (const { start, end, lines: instead } of hunks) {
    if (start < at || end < start || end > lines.length) return undefined
    result.push(...lines.slice(at, start), ...instead)
    at = end
  }
  return [...result, ...lines.slice(at)]
}

/**
 * The lines with both changes made: what either takes out is gone, what either puts in is there, `one` first where both
 * put something in
 * at one place. Where both replaced the same line both new ones are there: only the meaning of the text can tell
 * whether that is right.
 */
export function withBoth(lines: readonly string[], one: readonly Hunk[], other: readonly Hunk[]): readonly string[] {
  const both = [...one, ...other.filter((hunk) => !one.some((each) => isSame(each, hunk)))]
  const gone = new Set(both.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, at) => start + at)))
  // What was put before a line stays before what that line became.
  const inOrder = [...both.filter(({ start, end }) => start === end), ...both.filter(({ start, end }) => start < end)]
  const put = Map.groupBy(inOrder, ({ start }) => start)
  const result: string[] = []
  for (let at = 0; at <= lines.length; at += 1) {
    for (const hunk of put.get(at) ?? []) result.push(...hunk.lines)
    const line = lines[at]
    if (line !== undefined && !gone.has(at)) result.push(line)
  }
  return result
}

function isSame(a: Hunk, b: Hunk): boolean {
  return a.start === b.start && a.end === b.end && a.lines.join('') === b.lines.join('')
}
