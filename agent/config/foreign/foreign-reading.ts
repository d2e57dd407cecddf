// What registries.yaml of k3s and the registry tables of containerd have in common: `configs."HOST".tls`, and what
// becomes of somebody else's file: a text of ours with the place of each key, or refusals with their places. Pure.
import type { Origin } from '../reading/config-file.ts'
import { freeName } from './foreign-inputs.ts'

export type DeclaredRegistry = { readonly host: string; readonly [key: string]: unknown }

export type ForeignFile = {
  /** What trust.yaml would say. */
  readonly document: {
    readonly anchors: { readonly [name: string]: { readonly file: string } }
    readonly registries: readonly DeclaredRegistry[]
  }
  /** One is enough for nothing to be used: a part of the file would be worse than nothing. */
  readonly refused: readonly (Origin & { readonly text: string })[]
  /** Where a key of `document` (a JSON pointer) comes from; of what lies below it too. */
  readonly origins: ReadonlyMap<string, Origin>
}

export type Table = { readonly [key: string]: unknown }
/** Keys from the table of the registries on: `['configs', 'h.example.net', 'tls']`. */
export type Pointer = readonly string[]

export class ForeignReading {
  readonly #configs: Table
  readonly #at: (pointer: Pointer) => Origin
  readonly #refused: (Origin & { readonly text: string })[] = []
  readonly #anchors: { [name: string]: { file: string } } = {}
  readonly #origins = new Map<string, Origin>()

  constructor(configs: Table, at: (pointer: Pointer) => Origin) {
    this.#configs = configs
    this.#at = at
  }

  file(registries: readonly DeclaredRegistry[]): ForeignFile {
    return { document: { anchors: this.#anchors, registries }, refused: this.#refused, origins: this.#origins }
  }

  /** `text` reads on after the name of the key. The same text is reported once. */
  refuse(pointer: Pointer, text: string): void {
    const place = this.#at(pointer)
    const isTold = this.#refused.some((one) => one.subject === place.subject && one.text === text)
    if (!isTold) this.#refused.push({ ...place, text })
  }

  /** Something of this key, or of what lies below it. */
  isRefused(subject: string): boolean {
    return this.#refused.some((one) => one.subject.startsWith(subject))
  }

  comesFrom(key: string, pointer: Pointer): void {
    this.#origins.set(key, this.#at(pointer))
  }

  /** What `tls` of a host says for the registry at `at` (a JSON pointer), which is asked there. */
  tls(host: string, at: string): object {
    const tls = this.#tlsOf(host)
    const from = (key: string, name: string) => {
      if (tls[name] !== undefined) this.comesFrom(`${at}/${key}`, ['configs', host, 'tls', name])
    }
    const [certFile, keyFile] = [textAt(tls, 'cert_file'), textAt(tls, 'key_file')]
    if ((certFile === undefined) !== (keyFile === undefined)) {
      const [given, missing] = certFile === undefined ? ['key_file', 'cert_file'] : ['cert_file', 'key_file']
      this.refuse(['configs', host, 'tls', given], `needs ${missing} beside it`)
    }
    const anchors = this.anchorsOf(host)
    from('anchors', 'ca_file')
    from('skipVerify', 'insecure_skip_verify')
    from('clientCertificate', 'cert_file')
    return {
      ...(anchors.length > 0 && { anchors }),
      ...(tls['insecure_skip_verify'] === true && { skipVerify: true }),
      ...(certFile !== undefined && keyFile !== undefined && { clientCertificate: { certFile, keyFile } }),
    }
  }

  anchorsOf(host: string): readonly string[] {
    const file = textAt(this.#tlsOf(host), 'ca_file')
    if (file === undefined) return []
    const name = freeName(host, (taken) => (this.#anchors[taken]?.file ?? file) !== file)
    this.#anchors[name] = { file }
    this.comesFrom(`/anchors/${name}`, ['configs', host, 'tls', 'ca_file'])
    return [name]
  }

  /** What is said for the host of an endpoint, and a mirror here cannot have. */
  refuseTlsOfMirror(host: string): void {
    const tls = this.#tlsOf(host)
    for (const key of ['insecure_skip_verify', 'cert_file', 'key_file']) {
      if (tls[key] === undefined || tls[key] === null || tls[key] === false || tls[key] === '') continue
      const text = `is for ${host} as a mirror, which has no counterpart: a mirror has only anchors and headers`
      this.refuse(['configs', host, 'tls', key], text)
    }
  }

  #tlsOf(host: string): Table {
    return tableAt(tableAt(this.#configs, host), 'tls')
  }
}

export function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}

export function tableAt(table: Table, key: string): Table {
  const value = Object.hasOwn(table, key) ? table[key] : undefined
  return isTable(value) ? value : {}
}

function textAt(table: Table, key: string): string | undefined {
  const value = table[key]
  return typeof value === 'string' && value !== '' ? value : undefined
}
