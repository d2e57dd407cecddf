// What is known of CRI-O's configuration: where it lies, and whether its registries.conf is read again by itself.
// Source: crio.conf(5), crio(8).

/** As CRI Version tells it. */
export const CRIO = 'cri-o'
export const CRIO_UNIT = 'crio.service'
export const CRIO_CONFIG = '/etc/crio/crio.conf'
export const CRIO_DROP_INS = '/etc/crio/crio.conf.d'

const KEY = /^[ \t]*auto_reload_registries[ \t]*=[ \t]*(true|false)\b/gm

/** `texts`: crio.conf and its drop-ins, in the order in which CRI-O merges them: the last one that says it counts. */
export function reloadsRegistries(texts: readonly string[]): boolean {
  const said = texts.flatMap((text) => [...text.matchAll(KEY)].map(([, value]) => value))
  return said.at(-1) === 'true'
}
