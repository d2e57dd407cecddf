// What the files declare, each with the place where it stands.
import type { ConfigFile } from './config-file.ts'
import type { Place } from './report.ts'
import type { AnchorEntry, RegistryEntry } from './trust-file.ts'

export type DeclaredAnchor = {
  readonly name: string
  readonly entry: AnchorEntry
  readonly file: ConfigFile
  readonly pointer: string
  readonly place: Place
}

export type DeclaredRegistry = {
  readonly entry: RegistryEntry
  readonly file: ConfigFile
  readonly pointer: string
  readonly place: Place
}

export type Declarations = {
  readonly anchors: readonly DeclaredAnchor[]
  readonly registries: readonly DeclaredRegistry[]
}
