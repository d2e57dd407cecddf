// One log line for people: time, level, event, then key=value pairs on the same line.
// Control characters are escaped: text that came from the network must not steer a terminal or forge a second line.

export type LogLine = {
  readonly time: string
  readonly level: string
  readonly msg: string
  readonly fields: { readonly [name: string]: unknown }
}

export function renderTextLine(line: LogLine): string {
  const pairs = Object.entries(line.fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${escapeControls(name)}=${renderValue(value)}`)
  return `${line.time} ${line.level.toUpperCase().padEnd(5)} ${escapeControls(line.msg)}${pairs.join('')}\n`
}

function renderValue(value: unknown): string {
  if (typeof value === 'string') return needsQuotes(value) ? quote(value) : value
  return escapeControls(JSON.stringify(value) ?? String(value))
}

function needsQuotes(value: string): boolean {
  return value === '' || /[\s"=\\]|\p{Cc}|\p{Cf}/u.test(value)
}

function quote(value: string): string {
  return escapeControls(JSON.stringify(value))
}

/** JSON.stringify leaves DEL, C1 controls and bidirectional overrides as they are; a terminal would obey them. */
function escapeControls(value: string): string {
  return value.replace(/\p{Cc}|\p{Cf}/gu, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
