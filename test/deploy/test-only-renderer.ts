// TEST ONLY, and not Helm: understands the four constructs that the chart's templates use (if, if eq, end, toJson of a value) and refuses every
// other, so that the templates can be read where no Helm is to be had. Where helm is on the PATH, the test asks helm as well.

export type Values = { readonly [key: string]: unknown }

const ACTION = /\{\{-? ?(.*?) ?-?\}\}/g

export function renderTemplate(template: string, values: Values): string {
  const shown: boolean[] = []
  let out = ''
  let last = 0
  for (const match of template.matchAll(ACTION)) {
    const text = template.slice(last, match.index)
    if (shown.every(Boolean)) out += match[0].startsWith('{{-') ? text.trimEnd() : text
    last = match.index + match[0].length
    const action = match[1] ?? ''
    if (action === 'end') {
      if (shown.pop() === undefined) throw new Error('an end without an if')
    } else if (action.startsWith('if ')) shown.push(holds(action.slice(3), values))
    else if (shown.every(Boolean)) out += value(action, values)
  }
  if (shown.length > 0) throw new Error('an if without an end')
  return `${out}${template.slice(last)}\n`
}

function holds(condition: string, values: Values): boolean {
  const [, path, text] = /^eq (\.Values\S+) "([^"]*)"$/.exec(condition) ?? []
  if (path !== undefined) return find(path, values) === text
  const found = find(condition, values)
  return typeof found === 'object' && found !== null ? Object.keys(found).length > 0 : Boolean(found)
}

function value(action: string, values: Values): string {
  const path = /^toJson (\.Values\S+)$/.exec(action)?.[1]
  if (path === undefined) throw new Error(`not understood: {{ ${action} }}`)
  return JSON.stringify(find(path, values))
}

function find(path: string, values: Values): unknown {
  if (!/^\.Values(\.[A-Za-z]+)+$/.test(path)) throw new Error(`not understood: ${path}`)
  let at: unknown = values
  for (const key of path.split('.').slice(2)) {
    if (typeof at !== 'object' || at === null || !(key in at)) throw new Error(`there is no ${path}`)
    at = (at as Values)[key]
  }
  return at
}
