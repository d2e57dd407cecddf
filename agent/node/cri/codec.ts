// The services of messages.ts in the form in which a gRPC library serves them, and in which client.ts calls them.
import { CRI_SERVICES } from './messages.ts'
import { decodeMessage, encodeMessage, type Message } from './protobuf.ts'

export type CriMethod = {
  readonly path: string
  readonly requestStream: false
  readonly responseStream: false
  readonly requestSerialize: (message: object) => Buffer
  readonly requestDeserialize: (bytes: Buffer) => object
  readonly responseSerialize: (message: object) => Buffer
  readonly responseDeserialize: (bytes: Buffer) => object
}

/** `name`: with its package, as in gRPC. Throws Error for one that is not described. */
export function criService(name: string): { readonly [method: string]: CriMethod } {
  const service = CRI_SERVICES[name]
  if (service === undefined) throw new Error(`the service ${name} is not described`)
  const { methods, types } = service
  const writer = (type: string) => (message: object) => encodeMessage(types, type, message as Message)
  const reader = (type: string) => (bytes: Buffer) => decodeMessage(types, type, bytes)
  return Object.fromEntries(
    methods.map((method): readonly [string, CriMethod] => [
      method,
      {
        path: `/${name}/${method}`,
        requestStream: false,
        responseStream: false,
        requestSerialize: writer(`${method}Request`),
        requestDeserialize: reader(`${method}Request`),
        responseSerialize: writer(`${method}Response`),
        responseDeserialize: reader(`${method}Response`),
      },
    ]),
  )
}
