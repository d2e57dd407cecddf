// The section `distrust`: certificates that the distribution ships and the node should not trust, by fingerprint or by
// a file that holds them. A file that is missing or broken takes nothing back: what was taken out before stays out.
import type { Distrust, TrustAnchor } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import type { ConfigFile } from '../reading/config-file.ts'
import type { InputLookup } from '../reading/input-lookup.ts'
import { type Place, placeText, type Report } from '../reading/report.ts'
import type { DistrustEntry } from '../reading/trust-file.ts'
import { type AnchorOptions, normalizePin } from './anchors.ts'
import { checkPath } from './declarations.ts'

export type DeclaredDistrust = {
  readonly entry: DistrustEntry
  readonly file: ConfigFile
  readonly pointer: string
  readonly place: Place
}

/** Reports what cannot be meant; the sections of all files add up. */
export function checkDistrust(files: readonly ConfigFile[], report: Report): readonly DeclaredDistrust[] {
  const declared = files.flatMap((file) => {
    const section = file.value['distrust']
    if (!Array.isArray(section) || !file.isSound('/distrust')) return []
    return section.map((entry: DistrustEntry, index) => {
      const pointer = `/distrust/${index}`
      return { entry, file, pointer, place: file.place(pointer, 'value') }
    })
  })
  for (const { entry, file, pointer, place } of declared) {
    if ((entry.file === undefined) === (entry.fingerprint === undefined))
      report.add(
        'CONFIG_INVALID',
        place,
        file.subject(pointer),
        'must have exactly one of the keys fingerprint and file',
      )
    checkPath(entry.file, file, `${pointer}/file`, report)
  }
  return declared
}

export type LoadedDistrust = {
  readonly distrust?: Distrust
  /** Files that were read. */
  readonly sources: readonly string[]
}

/** An anchor of the system store that is distrusted as well cannot be meant: reported. */
export async function loadDistrust(
  declared: readonly DeclaredDistrust[],
  anchors: readonly TrustAnchor[],
  lookup: InputLookup,
  options: Pick<AnchorOptions, 'decode' | 'onStep' | 'harmful'>,
  report: Report,
): Promise<LoadedDistrust> {
  if (declared.length === 0) return { sources: [] }
  const wanted = new Set<string>()
  const problems: Problem[] = []
  const sources: string[] = []
  for (const one of declared) {
    const { entry, file, pointer, place } = one
    const found: Found =
      entry.fingerprint === undefined
        ? await fromFile(one, lookup, options)
        : { fingerprints: [normalizePin(entry.fingerprint)], problems: [] }
    problems.push(...found.problems)
    if (found.path !== undefined) sources.push(found.path)
    for (const fingerprint of found.fingerprints) {
      const anchor = anchors.find(
        ({ scope, certificates }) =>
          scope !== 'registries' && certificates.some((certificate) => certificate.fingerprint === fingerprint),
      )
      if (anchor === undefined) wanted.add(fingerprint)
      else
        report.add(
          'CONFIG_CONFLICT',
          place,
          file.subject(pointer),
          `distrusts ${fingerprint}, which the anchor ${anchor.name} puts into the system store; give that anchor the scope registries, or leave one of the two out`,
        )
    }
  }
  return { distrust: { fingerprints: [...wanted], problems }, sources }
}

type Found = {
  readonly fingerprints: readonly string[]
  readonly problems: readonly Problem[]
  readonly path?: string
}

async function fromFile(
  { entry, file, pointer }: DeclaredDistrust,
  lookup: InputLookup,
  { decode, onStep, harmful }: Pick<AnchorOptions, 'decode' | 'onStep' | 'harmful'>,
): Promise<Found> {
  const name = entry.file ?? ''
  const { path, input, lookedIn } = await lookup.find(name, file)
  const at = `${placeText(file.place(`${pointer}/file`, 'value'))}: ${file.subject(`${pointer}/file`)}`
  const kept = (code: Problem['code'], text: string): Found => ({
    fingerprints: [],
    problems: [problem(code, `${at} names ${text}; what was distrusted before stays so`)],
    ...(input.kind !== 'absent' && { path }),
  })
  const harm = harmful.get(path)
  if (harm !== undefined) return kept('ANCHOR_TOO_COSTLY', `${path}, which is not used: ${harm}`)
  switch (input.kind) {
    case 'file': {
      onStep(path)
      const { certificates, problems } = decode(input.bytes, {})
      const found = { fingerprints: certificates.map(({ fingerprint }) => fingerprint), path }
      return { ...found, problems: problems.map(({ code, message }) => problem(code, `${path}: ${message}`)) }
    }
    case 'absent':
      return kept('ANCHOR_MISSING', `${name}, which is not in ${lookedIn.join(' nor in ')}`)
    case 'folder':
      return kept('ANCHOR_UNREADABLE', `${path}, which is a folder`)
    case 'too-large':
      return kept('ANCHOR_TOO_LARGE', `${path}, which has ${input.bytes} bytes`)
    case 'unreadable':
      return kept('ANCHOR_UNREADABLE', `${path}, which cannot be read: ${input.reason}`)
  }
}
