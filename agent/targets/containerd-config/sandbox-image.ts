// The sandbox (pause) image in config.toml: one more key of the same file, set, kept and given back with the others.
// Pure. Whether the image is on the node was found out before (reconcile/run/sandbox-image.ts).
import { posix } from 'node:path'
import { effectiveRegistry } from '../../containerd/config/imports.ts'
import { readContainerdConfig } from '../../containerd/config/read.ts'
import {
  acceptedSchemas,
  CONFIG_SCHEMAS,
  type ContainerdVersion,
  isSchemaVersion,
  parseContainerdVersion,
  schemaForNewFile,
} from '../../containerd/config/schema-version.ts'
import { schemaNotAccepted, twoTables } from '../../containerd/edit/config-path.ts'
import { setInForce } from '../../containerd/edit/in-force.ts'
import { layoutNamed } from '../../containerd/layouts.ts'
import { AgentError, asAgentError, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { TargetInput } from '../../model/target.ts'
import { renderKey, renderString, stringAt } from '../../text/toml.ts'
import { giveBack } from '../../text/toml-give-back.ts'
import { rootFile, sha256 } from '../files/files.ts'
import type { ObservedConfig } from './observe.ts'
import { type ConfigTargetPlan, editObstacle } from './plan.ts'

/** The plan for the registries, and in the same file the sandbox image that is declared, or the one from before. */
export async function withSandboxImage(
  plan: ConfigTargetPlan,
  { desired, owned }: TargetInput,
  observed: ObservedConfig,
): Promise<ConfigTargetPlan> {
  const { facts } = observed
  const owner = owned[facts.configFile]
  const wanted = desired.targets.containerd.enabled === 'off' ? undefined : desired.sandboxImage
  if (desired.isSandboxImageHeld === true) return keptIn(plan, owner?.sandboxImage, observed)
  if (wanted === undefined && owner?.sandboxImage === undefined) return plan
  if (facts.config.kind !== 'file' && facts.config.kind !== 'absent') return plan
  try {
    const edited =
      wanted === undefined
        ? await withdrawn(plan.candidate, owner?.sandboxImage ?? '', observed)
        : await withImage(plan.candidate, wanted, observed)
    const isSame = edited === undefined ? plan.candidate === undefined : plan.candidate?.equals(edited) === true
    if (isSame) return loadedOrDue(keptIn(plan, wanted, observed), wanted, observed)
    const obstacle = editObstacle(observed)
    if (obstacle !== undefined) return { ...plan, problems: [...plan.problems, obstacle] }
    return edit(plan, edited, wanted, observed, owned)
  } catch (thrown) {
    const { code, message } = asAgentError(thrown)
    return { ...plan, problems: [...plan.problems, problem(code, message)] }
  }
}

/** Throws AgentError where the file cannot be read or is of a version that this containerd does not use. */
async function withImage(bytes: Buffer | undefined, image: string, { facts }: ObservedConfig): Promise<Buffer> {
  const version = versionOf(facts)
  const path = facts.configFile
  const config = bytes === undefined ? undefined : readContainerdConfig(bytes, { path })
  if (config === undefined || config.isEmpty) {
    const schema = schemaForNewFile(version)
    const key = CONFIG_SCHEMAS[schema].sandboxImage
    const table = key.slice(0, -1).map(renderKey).join('.')
    const lines = [`version = ${schema}`, '', `[${table}]`, `  ${key.at(-1)} = ${renderString(image)}`, '']
    const eol = config?.lineEnding ?? '\n'
    const text = config?.text ?? ''
    return Buffer.from(text + (text === '' || text.endsWith('\n') ? '' : eol) + lines.join(eol))
  }
  const { effectiveVersion: schema } = config
  if (!isSchemaVersion(schema) || !acceptedSchemas(version).includes(schema))
    throw new AgentError('CONTAINERD_CONFIG_UNSUPPORTED', schemaNotAccepted(config, version))
  const imports = facts.imports.map((file) => readContainerdConfig(file.bytes, { path: file.path }))
  const areImportsMerged = layoutNamed(facts.layout)?.dropIns !== undefined
  const text = await setInForce('sandboxImage', image, config, { imports, version, areImportsMerged })
  if (text !== undefined) return Buffer.from(text)
  const merged = effectiveRegistry(config, imports, version, areImportsMerged)
  const decidedBy = merged.ok ? merged.sandbox.decidedBy : path
  const why =
    decidedBy === path ? twoTables(config) : `${decidedBy}: this imported file decides the sandbox image; set it there`
  throw new AgentError('CONTAINERD_CONFIG_UNSUPPORTED', merged.ok ? why : merged.problem.message)
}

function versionOf({ version, configFile }: ObservedConfig['facts']): ContainerdVersion {
  const parsed = parseContainerdVersion(version)
  if (parsed !== undefined) return parsed
  const text = `${configFile}: containerd calls its version "${version}", so it is not known where it reads the sandbox image`
  throw new AgentError('CONTAINERD_CONFIG_UNSUPPORTED', text)
}

/** What was there before, as far as the image is still the one that the agent set. Undefined: no file. */
async function withdrawn(
  bytes: Buffer | undefined,
  set: string,
  { facts, beforeSandboxImage: before }: ObservedConfig,
): Promise<Buffer | undefined> {
  if (bytes === undefined) return undefined
  const path = facts.configFile
  const config = readContainerdConfig(bytes, { path })
  const key = [config.effectiveVersion, 3, 2]
    .filter(isSchemaVersion)
    .map((schema) => CONFIG_SCHEMAS[schema].sandboxImage)
    .find((one) => stringAt(config.parsed, one) === set)
  if (key === undefined) return bytes
  const was = before === undefined ? undefined : readContainerdConfig(before, { path }).text
  return Buffer.from(await giveBack(config.text, key, was, path))
}

function edit(
  plan: ConfigTargetPlan,
  bytes: Buffer | undefined,
  wanted: string | undefined,
  observed: ObservedConfig,
  owned: TargetInput['owned'],
): ConfigTargetPlan {
  const { facts, file } = observed
  const path = facts.configFile
  const owner = owned[path]
  const other = plan.changes.find((change) => change.path === path)
  const isAsWritten = file.kind === 'file' && sha256(file.bytes) === owner?.sha256
  // Without a change of the registries' part, the file is ours still where config_path is.
  const isOursBeside = other === undefined ? setsConfigPath(bytes, observed) : other.owns.length > 0
  const isOurs = wanted !== undefined || isOursBeside
  const original = !isOurs && isAsWritten && owner?.hasOthers !== true ? originalOf(owner, observed) : undefined
  const now = original === undefined ? bytes : original.bytes
  const { mode, uid, gid } = original?.attributes ?? (file.kind === 'file' ? file : rootFile(''))
  const action = now === undefined ? 'delete' : file.kind === 'absent' ? 'create' : 'edit'
  const reason = wanted === undefined ? 'the sandbox image is as before the agent' : `set the sandbox image ${wanted}`
  const change: Change = {
    target: 'containerd-config',
    action,
    path,
    ...(owner?.sandboxImage !== wanted || isAsWritten ? {} : { drift: file.kind === 'absent' ? 'missing' : 'changed' }),
    reason: other === undefined ? reason : `${other.reason}; ${reason}`,
    subject: '',
    folder: posix.dirname(path),
    after: now === undefined ? { kind: 'absent' } : { kind: 'file', bytes: now, mode, uid, gid },
    owns: isOurs && now !== undefined ? [owns(path, now, wanted)] : [],
    forgets: isOurs ? [] : [path],
  }
  const restart = plan.restart?.required === true ? plan.restart : undefined
  const why = `the sandbox image changes in ${path}, and containerd reads that file only when it starts`
  return {
    ...plan,
    candidate: now,
    changes: [...plan.changes.filter((one) => one !== other), change],
    restart: { required: true, reason: restart === undefined ? why : `${restart.reason}; ${why}` },
  }
}

function owns(path: string, bytes: Buffer, sandboxImage: string | undefined): Change['owns'][number] {
  const own = { path, kind: 'edited', sha256: sha256(bytes) } as const
  return sandboxImage === undefined ? own : { ...own, sandboxImage }
}

/** The agent's own config_path stands in the file: what was there before had none, or another one. */
function setsConfigPath(bytes: Buffer | undefined, { facts, beforeSandboxImage }: ObservedConfig): boolean {
  if (bytes === undefined) return false
  const path = facts.configFile
  const before =
    beforeSandboxImage === undefined ? '' : (readContainerdConfig(beforeSandboxImage, { path }).configPath ?? '')
  return (readContainerdConfig(bytes, { path }).configPath ?? '') !== before
}

type Original = {
  readonly bytes: Buffer | undefined
  readonly attributes?: { readonly mode: number; readonly uid: number; readonly gid: number }
}

/** Undefined: it is not known any more. */
function originalOf(
  owner: TargetInput['owned'][string] | undefined,
  { beforeSandboxImage: bytes }: ObservedConfig,
): Original | undefined {
  if (owner?.before.kind === 'absent') return { bytes: undefined }
  return owner?.before.kind === 'file' && bytes !== undefined ? { bytes, attributes: owner.before } : undefined
}

/** A change of the registries' part keeps the word that the sandbox image is the agent's too. */
function keptIn(plan: ConfigTargetPlan, image: string | undefined, { facts }: ObservedConfig): ConfigTargetPlan {
  if (image === undefined) return plan
  const changes = plan.changes.map((change): Change => {
    if (change.path !== facts.configFile || change.after.kind !== 'file') return change
    return { ...change, owns: [owns(change.path, change.after.bytes, image)], forgets: [] }
  })
  return { ...plan, changes }
}

/** 1.x tells what it has loaded. */
function loadedOrDue(plan: ConfigTargetPlan, wanted: string | undefined, { facts }: ObservedConfig): ConfigTargetPlan {
  const loaded = facts.status.sandboxImage
  if (wanted === undefined || loaded === undefined || loaded === wanted || plan.restart?.required === true) return plan
  const reason = `${facts.configFile} sets the sandbox image ${wanted}, but the running containerd has loaded ${loaded}`
  return { ...plan, restart: { required: true, reason } }
}
