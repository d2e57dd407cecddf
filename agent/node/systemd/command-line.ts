// The words of ExecStart as the program gets them: systemd tells them over D-Bus before it puts variables in, and a unit
// may name its configuration file by one (Flatcar: --config ${TORCX_UNPACKDIR}${TORCX_IMAGEDIR}${CONTAINERD_CONFIG}).

export type UnitEnvironment = {
  /** Entries `NAME=value` of Environment=, in their order. */
  readonly entries: readonly string[]
  /** There is an EnvironmentFile=, whose variables are not known here. */
  readonly hasFiles: boolean
}

/**
 * systemd.service(5), Command lines: `${NAME}` is replaced anywhere in a word, `$NAME` is a word of its own and becomes
 * as many as its value has, `$$` is a dollar sign. A variable that nobody sets is empty; where a file may set it, it
 * stays as it is.
 */
export function expandCommand(words: readonly string[], { entries, hasFiles }: UnitEnvironment): readonly string[] {
  const known = new Map(entries.map((entry) => split(entry)))
  const valueFor = (name: string) => known.get(name) ?? (hasFiles ? undefined : '')
  const [program = '', ...rest] = words
  const expanded = rest.flatMap((word) => {
    const [, alone] = /^\$([A-Za-z_][A-Za-z0-9_]*)$/.exec(word) ?? []
    if (alone !== undefined) return (valueFor(alone) ?? word).split(/\s+/).filter((part) => part !== '')
    return [
      word.replace(/\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)\})/g, (whole, name?: string) =>
        name === undefined ? '$' : (valueFor(name) ?? whole),
      ),
    ]
  })
  return words.length === 0 ? [] : [program, ...expanded]
}

function split(entry: string): readonly [string, string] {
  const end = entry.indexOf('=')
  return end < 0 ? [entry, ''] : [entry.slice(0, end), entry.slice(end + 1)]
}
