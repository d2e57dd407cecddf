// What the dashboards have in common: variables, links, and two forms of expression.
import { m } from './metric-names.ts'
import { DATASOURCE, layOut, type Row } from './panels.ts'

/** A count of nothing is no number in PromQL; people want to see 0. */
export function orZero(expr: string): string {
  return `${expr} or vector(0)`
}

export function p95(histogram: string, selector: string, by: string): string {
  return `histogram_quantile(0.95, sum by (${by}) (rate(${histogram}_bucket{${selector}}[$__rate_interval])))`
}

export function dashboard(uid: string, title: string, rows: readonly Row[], variables: readonly object[] = []) {
  return {
    uid,
    title,
    tags: ['registry-trust'],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '1m',
    time: { from: 'now-6h', to: 'now' },
    timezone: 'browser',
    links: [
      {
        type: 'dashboards',
        title: 'Registry trust',
        tags: ['registry-trust'],
        asDropdown: false,
        includeVars: true,
        keepTime: true,
      },
    ],
    templating: {
      list: [
        { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus', current: {} },
        {
          ...labelVariable('cluster', `label_values(${m.buildInfo}, cluster)`),
          includeAll: true,
          // Matches where there is no label `cluster` too.
          allValue: '.*',
          current: { selected: true, text: 'All', value: '$__all' },
        },
        ...variables,
      ],
    },
    panels: layOut(rows),
  }
}

export function labelVariable(name: string, query: string): object {
  return {
    name,
    label: name,
    type: 'query',
    datasource: DATASOURCE,
    query: { query, refId: name },
    refresh: 2,
    sort: 1,
  }
}
