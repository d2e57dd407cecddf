// The messages of the Kubernetes CRI (runtime.v1) that the agent sends and reads, as protobuf descriptors: a subset of
// api.proto of k8s.io/cri-api with its field numbers (unknown fields are skipped by proto3), in JSON, because the
// bundle has no .proto file to read. CRI tells no pull that is under way: that one question goes to containerd's own
// content service on the same socket.

export type Field = {
  readonly type: string
  readonly id: number
  readonly rule?: 'repeated'
  readonly keyType?: 'string'
}
export type MessageType = { readonly fields: { readonly [name: string]: Field } }
type EnumType = { readonly values: { readonly [name: string]: number } }
export type Types = { readonly [name: string]: MessageType | EnumType }
/** A method NAME takes NAMERequest and answers NAMEResponse. */
type Service = { readonly methods: readonly string[]; readonly types: Types }

const text = (id: number): Field => ({ type: 'string', id })
const flag = (id: number): Field => ({ type: 'bool', id })
const int64 = (id: number): Field => ({ type: 'int64', id })
const one = (type: string, id: number): Field => ({ type, id })
const many = (type: string, id: number): Field => ({ type, id, rule: 'repeated' })
const textMap = (id: number): Field => ({ type: 'string', id, keyType: 'string' })
const message = (fields: { readonly [name: string]: Field }) => ({ fields })

const RUNTIME_METHODS = ['Version', 'Status', 'ListContainers', 'ContainerStatus']
const RUNTIME: Types = {
  VersionRequest: message({ version: text(1) }),
  VersionResponse: message({ runtimeName: text(2), runtimeVersion: text(3) }),
  StatusRequest: message({ verbose: flag(1) }),
  StatusResponse: message({ status: one('RuntimeStatus', 1), info: textMap(2) }),
  RuntimeStatus: message({ conditions: many('RuntimeCondition', 1) }),
  RuntimeCondition: message({ type: text(1), status: flag(2), reason: text(3), message: text(4) }),
  ContainerState: {
    values: { CONTAINER_CREATED: 0, CONTAINER_RUNNING: 1, CONTAINER_EXITED: 2, CONTAINER_UNKNOWN: 3 },
  },
  ContainerStateValue: message({ state: one('ContainerState', 1) }),
  ContainerFilter: message({ state: one('ContainerStateValue', 2) }),
  ListContainersRequest: message({ filter: one('ContainerFilter', 1) }),
  ListContainersResponse: message({ containers: many('Container', 1) }),
  Container: message({ id: text(1), state: one('ContainerState', 6), createdAt: int64(7) }),
  ContainerStatusRequest: message({ containerId: text(1), verbose: flag(2) }),
  ContainerStatusResponse: message({ status: one('ContainerStatus', 1), info: textMap(2) }),
  ContainerStatus: message({ id: text(1), state: one('ContainerState', 3), startedAt: int64(5) }),
}

const IMAGE_METHODS = ['ListImages', 'ImageStatus', 'PullImage']
const IMAGES: Types = {
  ImageSpec: message({ image: text(1) }),
  Image: message({ id: text(1), repoTags: many('string', 2), repoDigests: many('string', 3) }),
  ListImagesRequest: message({}),
  ListImagesResponse: message({ images: many('Image', 1) }),
  ImageStatusRequest: message({ image: one('ImageSpec', 1), verbose: flag(2) }),
  ImageStatusResponse: message({ image: one('Image', 1), info: textMap(2) }),
  // `registry_token` is left out: containerd does not read it.
  AuthConfig: message({ username: text(1), password: text(2), serverAddress: text(4), identityToken: text(5) }),
  PullImageRequest: message({ image: one('ImageSpec', 1), auth: one('AuthConfig', 2) }),
  PullImageResponse: message({ imageRef: text(1) }),
}

/** containerd's api/services/content/v1/content.proto; `Timestamp` has the fields of google.protobuf.Timestamp. */
const CONTENT: Types = {
  ListStatusesRequest: message({}),
  ListStatusesResponse: message({ statuses: many('Status', 1) }),
  Status: message({ startedAt: one('Timestamp', 1), updatedAt: one('Timestamp', 2) }),
  Timestamp: message({ seconds: int64(1), nanos: { type: 'int32', id: 2 } }),
}

export const RUNTIME_PACKAGE = 'runtime.v1'
export const CONTENT_PACKAGE = 'containerd.services.content.v1'

/** Each by its name in gRPC, with the types that it uses by their names in it. */
export const CRI_SERVICES: { readonly [service: string]: Service } = {
  [`${RUNTIME_PACKAGE}.RuntimeService`]: { methods: RUNTIME_METHODS, types: RUNTIME },
  [`${RUNTIME_PACKAGE}.ImageService`]: { methods: IMAGE_METHODS, types: IMAGES },
  [`${CONTENT_PACKAGE}.Content`]: { methods: ['ListStatuses'], types: CONTENT },
}
