// The few kinds of Grafana panels that the dashboards use, as plain values; `layOut` gives them their places.
// Written for Grafana 10 and newer (schema 39); only panels and transformations that Grafana brings along.

export const DATASOURCE = { type: 'prometheus', uid: '$datasource' } as const

export type Query = { readonly expr: string; readonly legend?: string }

export type Unit = 'short' | 's' | 'percentunit' | 'bytes' | 'none' | 'dateTimeFromNow'

type Step = { readonly color: string; readonly value: number | null }

export type Panel = {
  readonly type: string
  readonly title: string
  readonly description: string
  readonly width: number
  readonly height: number
  readonly targets: readonly object[]
  readonly fieldConfig: { readonly defaults: object; readonly overrides: readonly object[] }
  readonly options: object
  readonly transformations?: readonly object[]
}

export type Row = { readonly title: string; readonly panels: readonly Panel[] }

type Base = { readonly title: string; readonly description: string; readonly width: number; readonly unit?: Unit }

const GREEN = 'green'
export const RED = 'red'
export const ORANGE = 'orange'

/** Green from nothing on, worse from 1 on. */
export function worseFromOne(color: string): readonly Step[] {
  return [
    { color: GREEN, value: null },
    { color, value: 1 },
  ]
}

export const NEUTRAL: readonly Step[] = [{ color: 'text', value: null }]

const DAY = 86_400
/** The limits of the alerts. */
export const EXPIRY: readonly Step[] = [
  { color: RED, value: null },
  { color: ORANGE, value: 14 * DAY },
  { color: GREEN, value: 28 * DAY },
]

export function stat(
  base: Base & { readonly query: Query; readonly steps: readonly Step[]; readonly text?: 'name' },
): Panel {
  const { title, description, width, unit = 'short', query, steps, text } = base
  return {
    type: 'stat',
    title,
    description,
    width,
    height: 4,
    targets: targets([query], 'instant'),
    fieldConfig: {
      defaults: { unit, decimals: unit === 's' ? 0 : null, thresholds: absolute(steps), noValue: '–' },
      overrides: [],
    },
    options: {
      colorMode: text === 'name' ? 'none' : 'value',
      graphMode: 'none',
      justifyMode: 'auto',
      textMode: text ?? 'value',
      reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
    },
  }
}

export function timeSeries(
  base: Base & { readonly queries: readonly Query[]; readonly stacked?: true; readonly max?: number },
): Panel {
  const { title, description, width, unit = 'short', queries, stacked, max } = base
  const custom = {
    lineWidth: 1,
    fillOpacity: stacked === true ? 40 : 10,
    showPoints: 'never',
    stacking: { mode: stacked === true ? 'normal' : 'none', group: 'A' },
  }
  return {
    type: 'timeseries',
    title,
    description,
    width,
    height: 8,
    targets: targets(queries, 'range'),
    fieldConfig: { defaults: { unit, min: 0, ...(max === undefined ? {} : { max }), custom }, overrides: [] },
    options: {
      legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
      tooltip: { mode: 'multi', sort: 'desc' },
    },
  }
}

/** The history of 0 and 1, one line a legend. */
export function trustTimeline(base: Base & { readonly query: Query }): Panel {
  const { title, description, width, query } = base
  return {
    type: 'state-timeline',
    title,
    description,
    width,
    height: 8,
    targets: targets([query], 'range'),
    fieldConfig: {
      defaults: {
        mappings: TRUST_MAPPINGS,
        thresholds: absolute(TRUST_STEPS),
        custom: { fillOpacity: 80, lineWidth: 0 },
      },
      overrides: [],
    },
    options: {
      mergeValues: true,
      showValue: 'never',
      rowHeight: 0.9,
      legend: { showLegend: false },
      tooltip: { mode: 'single' },
    },
  }
}

export function bars(
  base: Base & { readonly query: Query; readonly steps: readonly Step[]; readonly max?: number },
): Panel {
  const { title, description, width, unit = 'short', query, steps, max } = base
  return {
    type: 'bargauge',
    title,
    description,
    width,
    height: 8,
    targets: targets([query], 'instant'),
    fieldConfig: {
      defaults: { unit, min: 0, ...(max === undefined ? {} : { max }), thresholds: absolute(steps) },
      overrides: [],
    },
    options: {
      orientation: 'horizontal',
      displayMode: 'basic',
      valueMode: 'text',
      reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
    },
  }
}

export type Column = {
  readonly name: string
  readonly unit?: Unit
  readonly steps?: readonly Step[]
  readonly trust?: true
  readonly link?: string
}

/**
 * One row for each combination of the labels that the queries have in common; every query is a column `Value #A`,
 * `Value #B` …
 */
export function table(
  base: Base & {
    readonly queries: readonly Query[]
    readonly columns: readonly Column[]
    readonly hidden?: readonly string[]
  },
): Panel {
  const { title, description, width, queries, columns, hidden = [] } = base
  const values = queries.map((_query, index) => (queries.length === 1 ? 'Value' : `Value #${letter(index)}`))
  const renameByName = Object.fromEntries(values.map((value, index) => [value, queries[index]?.legend ?? value]))
  const excludeByName = Object.fromEntries(['Time', ...hidden].map((name) => [name, true]))
  return {
    type: 'table',
    title,
    description,
    width,
    height: 8,
    targets: targets(queries, 'table'),
    transformations: [
      ...(queries.length === 1 ? [] : [{ id: 'merge', options: {} }]),
      { id: 'organize', options: { excludeByName, renameByName, indexByName: {} } },
    ],
    fieldConfig: { defaults: { custom: { filterable: true } }, overrides: columns.map(override) },
    options: { showHeader: true, cellHeight: 'sm', footer: { show: false } },
  }
}

/** Rows and columns from two labels, the value in the cell. */
export function matrix(
  base: Base & { readonly query: Query; readonly row: string; readonly column: string; readonly link: string },
): Panel {
  const { title, description, width, query, row, column, link } = base
  const defaults = {
    mappings: TRUST_MAPPINGS,
    thresholds: absolute(TRUST_STEPS),
    noValue: '–',
    custom: { cellOptions: { type: 'color-background', mode: 'basic' }, align: 'center' },
  }
  const options = { rowField: row, columnField: column, valueField: 'Value', emptyValue: 'null' }
  return {
    type: 'table',
    title,
    description,
    width,
    height: 12,
    targets: targets([query], 'table'),
    transformations: [{ id: 'groupingToMatrix', options }],
    fieldConfig: {
      defaults,
      overrides: [override({ name: `${row}\\${column}`, link })],
    },
    options: { showHeader: true, cellHeight: 'sm', footer: { show: false } },
  }
}

const TRUST_STEPS: readonly Step[] = [
  { color: RED, value: null },
  { color: GREEN, value: 1 },
]
const TRUST_MAPPINGS = [
  {
    type: 'value',
    options: { 0: { text: 'not trusted', color: RED, index: 0 }, 1: { text: 'trusted', color: GREEN, index: 1 } },
  },
]

function override({ name, unit, steps, trust, link }: Column): object {
  const properties = [
    ...(unit === undefined ? [] : [{ id: 'unit', value: unit }]),
    ...(steps === undefined ? [] : [{ id: 'thresholds', value: absolute(steps) }]),
    ...(trust === undefined ? [] : [{ id: 'mappings', value: TRUST_MAPPINGS }]),
    ...(steps === undefined && trust === undefined
      ? []
      : [{ id: 'custom.cellOptions', value: { type: 'color-text' } }]),
    ...(link === undefined
      ? []
      : [
          { id: 'custom.cellOptions', value: { type: 'auto' } },
          { id: 'links', value: [{ title: 'Show the node', url: link }] },
        ]),
  ]
  return { matcher: { id: 'byName', options: name }, properties }
}

function absolute(steps: readonly Step[]): object {
  return { mode: 'absolute', steps }
}

function targets(queries: readonly Query[], kind: 'instant' | 'range' | 'table'): readonly object[] {
  return queries.map(({ expr, legend }, index) => ({
    refId: letter(index),
    datasource: DATASOURCE,
    expr,
    legendFormat: kind === 'table' ? '' : (legend ?? ''),
    format: kind === 'table' ? 'table' : 'time_series',
    instant: kind !== 'range',
    range: kind === 'range',
  }))
}

function letter(index: number): string {
  return String.fromCharCode(65 + index)
}

const COLUMNS = 24

/** Left to right, a new line when the width is used up; every row of panels has a headline. */
export function layOut(rows: readonly Row[]): readonly object[] {
  const placed: object[] = []
  let y = 0
  for (const { title, panels } of rows) {
    placed.push({
      id: placed.length + 1,
      type: 'row',
      title,
      collapsed: false,
      panels: [],
      gridPos: { x: 0, y, w: COLUMNS, h: 1 },
    })
    y += 1
    let x = 0
    let lineHeight = 0
    for (const { width, height, ...panel } of panels) {
      if (x + width > COLUMNS) {
        y += lineHeight
        x = 0
        lineHeight = 0
      }
      placed.push({ id: placed.length + 1, datasource: DATASOURCE, ...panel, gridPos: { x, y, w: width, h: height } })
      x += width
      lineHeight = Math.max(lineHeight, height)
    }
    y += lineHeight
  }
  return placed
}
