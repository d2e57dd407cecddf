// The descriptors of cri-messages.ts as services that grpc-js can call and serve. The only importer of `protobufjs`, of
// its part without the .proto parser: a loader for .proto files would bring more code than everything else that speaks
// to containerd.
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js'
import protobuf from 'protobufjs/light.js'
import { CRI_DESCRIPTOR } from './messages.ts'

/** 64-bit numbers and enums as text, and a value for every field: what an answer leaves out reads as its default. */
const READING = { longs: String, enums: String, defaults: true }

export type CriMethod = MethodDefinition<object, object>

/** Built anew at each call: some milliseconds, and nothing stays resident while no client is open. */
export function criService(name: string): ServiceDefinition & { readonly [method: string]: CriMethod } {
  const service = protobuf.Root.fromJSON(CRI_DESCRIPTOR).lookupService(name)
  return Object.fromEntries(service.methodsArray.map((method) => [method.name, describe(name, method)]))
}

function describe(service: string, method: protobuf.Method): CriMethod {
  method.resolve()
  const { resolvedRequestType: request, resolvedResponseType: reply } = method
  if (request === null || reply === null) throw new Error(`${service}/${method.name} has no messages`)
  return {
    path: `/${service}/${method.name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: writer(request),
    requestDeserialize: reader(request),
    responseSerialize: writer(reply),
    responseDeserialize: reader(reply),
  }
}

function writer(type: protobuf.Type) {
  return (message: object): Buffer => Buffer.from(type.encode(type.fromObject(message)).finish())
}

function reader(type: protobuf.Type) {
  return (bytes: Buffer): object => type.toObject(type.decode(bytes), READING)
}
