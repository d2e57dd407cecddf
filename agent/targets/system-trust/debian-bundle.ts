// The bundle of Debian's store as it will be: certificates where `update-ca-certificates` puts them. Pure.
import type { Change } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import { sha256 } from '../files/files.ts'
import { type BundleText, bundleText, insertInOrder, withoutTexts } from './bundle-order.ts'
import { BUNDLE, type ObservedSystemTrust, type Placed, SYSTEM_CERTS, TARGET } from './debian-observe.ts'

const bundles = new WeakMap<ObservedSystemTrust, BundleText>()

export function textOfBundle(observed: ObservedSystemTrust): BundleText {
  const known = bundles.get(observed)
  if (known !== undefined) return known
  const read = bundleText(observed.bundle.kind === 'file' ? observed.bundle.bytes.toString('utf8') : '')
  bundles.set(observed, read)
  return read
}

/**
 * Certificates go where `update-ca-certificates` puts them: sources in the order of their paths, after the
 * distribution's.
 */
export function planBundle(
  installed: readonly Placed[],
  gone: readonly string[],
  owned: AgentState['owned'],
  observed: ObservedSystemTrust,
  bundle: FileState,
  somethingStays: boolean,
): readonly Change[] {
  if (bundle.kind !== 'file' || observed.bundle.kind !== 'file') return []
  const start = textOfBundle(observed)
  const before = bundle === observed.bundle ? start : bundleText(bundle.bytes.toString('utf8'))
  const wanted = new Set(installed.map(({ certificate }) => certificate.pem))
  const foreign = observed.sources.flatMap(({ path, state }) =>
    state.kind === 'file' ? [{ path, text: state.bytes.toString('utf8') }] : [],
  )
  const ours = installed.map((other) => ({ path: other.source, text: other.certificate.pem }))
  const rest = bundleText(
    withoutTexts(
      start.text,
      gone.filter((pem) => !wanted.has(pem)),
    ),
  )
  const text = insertInOrder(
    rest,
    ours.filter((one) => !rest.has(one.text)),
    foreign,
    ours,
  )
  if (text === before.text) return []
  return [
    {
      target: TARGET,
      action: 'edit',
      path: BUNDLE,
      reason: whyBundle(installed, before, start.text),
      subject: '',
      folder: SYSTEM_CERTS,
      after: { ...bundle, kind: 'file', bytes: Buffer.from(text) },
      owns: somethingStays ? [{ path: BUNDLE, kind: 'edited', sha256: sha256(text) }] : [],
      forgets: somethingStays || owned[BUNDLE] === undefined ? [] : [BUNDLE],
    },
  ]
}

function whyBundle(installed: readonly Placed[], before: BundleText, start: string): string {
  if (installed.some(({ certificate }) => !before.has(certificate.pem))) return 'the bundle lacks declared anchors'
  if (start.length < before.text.length) return 'the bundle holds certificates that are distrusted'
  if (start.length > before.text.length) return 'the bundle lacks certificates that are not distrusted any more'
  return 'the bundle holds anchors that are no longer declared'
}
