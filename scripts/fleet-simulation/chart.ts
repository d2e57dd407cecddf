// Lines over time as an SVG that reads in light and dark.

export type Line = { readonly name: string; readonly points: readonly (readonly [x: number, y: number])[] }
export type Chart = {
  readonly title: string
  readonly yTitle: string
  readonly lines: readonly Line[]
  readonly limit?: number
}

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [720, 300, 60, 16, 56, 44]
const COLOURS = ['#2f6fb5', '#c2571a', '#3c8a4a', '#8a4fa3']
const TICKS = 5

export function renderChart({ title, yTitle, lines, limit }: Chart): string {
  const all = lines.flatMap(({ points }) => points)
  const mostX = rounded(Math.max(1, ...all.map(([x]) => x)))
  const mostY = rounded(Math.max(1, limit ?? 0, ...all.map(([, y]) => y)))
  const x = (value: number) => LEFT + (value / mostX) * (WIDTH - LEFT - RIGHT)
  const y = (value: number) => HEIGHT - BOTTOM - (value / mostY) * (HEIGHT - TOP - BOTTOM)
  const grid = ticks(mostY).map(
    (value) =>
      `<path class="grid" d="M${LEFT} ${y(value)}H${WIDTH - RIGHT}"/><text x="${LEFT - 6}" y="${y(value) + 4}" text-anchor="end">${value}</text>`,
  )
  const below = ticks(mostX).map(
    (value) => `<text x="${x(value)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${value}</text>`,
  )
  const drawn = lines.map(({ points }, index) => {
    const path = points.map(([at, value], point) => `${point === 0 ? 'M' : 'L'}${fixed(x(at))} ${fixed(y(value))}`)
    return `<path d="${path.join('')}" fill="none" stroke="${COLOURS[index % COLOURS.length]}" stroke-width="2"/>`
  })
  const legend = lines.map(({ name }, index) => {
    const at = LEFT + index * 190
    return `<rect x="${at}" y="32" width="12" height="12" fill="${COLOURS[index % COLOURS.length]}"/><text x="${at + 18}" y="42">${escaped(name)}</text>`
  })
  const border = limit === undefined ? '' : `<path class="limit" d="M${LEFT} ${y(limit)}H${WIDTH - RIGHT}"/>`
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(title)}">
<style>text{font:12px sans-serif;fill:#222}.grid{stroke:#ddd}.limit{stroke:#b00020;stroke-dasharray:6 4}rect.ground{fill:#fff}</style>
<rect class="ground" width="${WIDTH}" height="${HEIGHT}"/>
<text x="${LEFT}" y="20" font-weight="bold">${escaped(title)}</text>
${[...grid, ...below, ...legend].join('\n')}
${border}${drawn.join('\n')}
<text x="${(WIDTH + LEFT) / 2}" y="${HEIGHT - 8}" text-anchor="middle">seconds after the change</text>
<text transform="translate(14 ${(HEIGHT + TOP - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">${escaped(yTitle)}</text>
</svg>
`
}

/** Of a curve with thousands of points those that can be seen. */
export function thinned<T>(points: readonly T[], most = 300): readonly T[] {
  const step = Math.max(1, Math.ceil(points.length / most))
  return points.filter((_, index) => index % step === 0 || index === points.length - 1)
}

function ticks(most: number): readonly number[] {
  return Array.from({ length: TICKS + 1 }, (_, index) => Math.round(((most * index) / TICKS) * 100) / 100)
}

/** To a number that divides well. */
function rounded(value: number): number {
  const step = 10 ** Math.floor(Math.log10(value)) / 2
  return Math.ceil(value / step) * step
}

function fixed(value: number): string {
  return String(Math.round(value * 10) / 10)
}

function escaped(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/"/g, '&quot;')
}
