// Which of the declared `extra` keys this node's containerd reads: the others are left out and reported, never written
// silently. The registry keeps all else that is declared for it. Pure.
import type { ContainerdVersion } from '../../containerd/config/schema-version.ts'
import { judgeExtra } from '../../containerd/hosts/extra-keys.ts'
import type { Extra, Registry } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'

export type ReadableExtra = {
  /** The same registry with the keys that are written. */
  readonly registry: Registry
  readonly problems: readonly Problem[]
  readonly warnings: readonly Problem[]
}

export function withReadableExtra(registry: Registry, version: ContainerdVersion | undefined): ReadableExtra {
  const [problems, warnings]: [Problem[], Problem[]] = [[], []]
  const keep = (extra: Extra | undefined, where: string) => {
    const entries = Object.entries(extra ?? {}).filter(([key]) => {
      const verdict = judgeExtra(key, version)
      const say = (text: string) => problem('HOSTS_KEY_UNSUPPORTED', `${where}: extra.${key} ${text}`)
      if (verdict.kind === 'unknown') problems.push(say('is a key that no known containerd reads in hosts.toml'))
      if (verdict.kind === 'too-new')
        warnings.push(say(`is left out on this node: containerd reads it from ${verdict.since} on`))
      if (verdict.kind === 'untold')
        warnings.push(say('is written, but whether this version of containerd reads it is not known'))
      return verdict.kind === 'read' || verdict.kind === 'untold'
    })
    return entries.length === 0 ? {} : { extra: Object.fromEntries(entries) }
  }
  const { extra, mirrors, ...rest } = registry
  const kept = {
    ...rest,
    ...keep(extra, registry.host),
    ...(mirrors !== undefined && {
      mirrors: mirrors.map(({ extra: own, ...mirror }) => ({
        ...mirror,
        ...keep(own, `${registry.host}: mirror ${mirror.url}`),
      })),
    }),
  }
  return { registry: kept, problems, warnings }
}
