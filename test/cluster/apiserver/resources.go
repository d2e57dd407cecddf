// The resources that this server has, one row each, and how they are kept: as Kubernetes keeps them, but nothing fills in defaults and only
// the metadata is validated (Kubernetes does both in code that is no library).
package main

import (
	"context"
	"reflect"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

type resource struct {
	group          schema.GroupVersion
	plural, single string
	shortNames     []string
	isNamespaced   bool
	object, list   runtime.Object
}

var (
	core    = corev1.SchemeGroupVersion
	apps    = appsv1.SchemeGroupVersion
	rbac    = rbacv1.SchemeGroupVersion
	batch   = batchv1.SchemeGroupVersion
	leases  = coordinationv1.SchemeGroupVersion
	network = networkingv1.SchemeGroupVersion
	sched   = schedulingv1.SchemeGroupVersion
	admit   = admissionv1.SchemeGroupVersion
)

var resources = []resource{
	{core, "namespaces", "namespace", []string{"ns"}, false, &corev1.Namespace{}, &corev1.NamespaceList{}},
	{core, "nodes", "node", []string{"no"}, false, &corev1.Node{}, &corev1.NodeList{}},
	{core, "pods", "pod", []string{"po"}, true, &corev1.Pod{}, &corev1.PodList{}},
	{core, "configmaps", "configmap", []string{"cm"}, true, &corev1.ConfigMap{}, &corev1.ConfigMapList{}},
	{core, "secrets", "secret", nil, true, &corev1.Secret{}, &corev1.SecretList{}},
	{core, "services", "service", []string{"svc"}, true, &corev1.Service{}, &corev1.ServiceList{}},
	{core, "serviceaccounts", "serviceaccount", []string{"sa"}, true, &corev1.ServiceAccount{}, &corev1.ServiceAccountList{}},
	{core, "events", "event", []string{"ev"}, true, &corev1.Event{}, &corev1.EventList{}},
	{apps, "daemonsets", "daemonset", []string{"ds"}, true, &appsv1.DaemonSet{}, &appsv1.DaemonSetList{}},
	{apps, "deployments", "deployment", []string{"deploy"}, true, &appsv1.Deployment{}, &appsv1.DeploymentList{}},
	{apps, "controllerrevisions", "controllerrevision", nil, true, &appsv1.ControllerRevision{}, &appsv1.ControllerRevisionList{}},
	{batch, "jobs", "job", nil, true, &batchv1.Job{}, &batchv1.JobList{}},
	{leases, "leases", "lease", nil, true, &coordinationv1.Lease{}, &coordinationv1.LeaseList{}},
	{rbac, "roles", "role", nil, true, &rbacv1.Role{}, &rbacv1.RoleList{}},
	{rbac, "rolebindings", "rolebinding", nil, true, &rbacv1.RoleBinding{}, &rbacv1.RoleBindingList{}},
	{rbac, "clusterroles", "clusterrole", nil, false, &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleList{}},
	{rbac, "clusterrolebindings", "clusterrolebinding", nil, false, &rbacv1.ClusterRoleBinding{}, &rbacv1.ClusterRoleBindingList{}},
	{admit, "validatingadmissionpolicies", "validatingadmissionpolicy", nil, false, &admissionv1.ValidatingAdmissionPolicy{}, &admissionv1.ValidatingAdmissionPolicyList{}},
	{admit, "validatingadmissionpolicybindings", "validatingadmissionpolicybinding", nil, false, &admissionv1.ValidatingAdmissionPolicyBinding{}, &admissionv1.ValidatingAdmissionPolicyBindingList{}},
	{network, "networkpolicies", "networkpolicy", []string{"netpol"}, true, &networkingv1.NetworkPolicy{}, &networkingv1.NetworkPolicyList{}},
	{sched, "priorityclasses", "priorityclass", []string{"pc"}, false, &schedulingv1.PriorityClass{}, &schedulingv1.PriorityClassList{}},
}

var (
	scheme = newScheme()
	codecs = serializer.NewCodecFactory(scheme)
)

// newScheme has each type also as the internal version that the library works with, so nothing is ever converted.
func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, coordinationv1.AddToScheme,
		rbacv1.AddToScheme, networkingv1.AddToScheme, schedulingv1.AddToScheme, admissionv1.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	for _, r := range resources {
		scheme.AddKnownTypes(schema.GroupVersion{Group: r.group.Group, Version: runtime.APIVersionInternal}, r.object, r.list)
	}
	unversioned := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(scheme, unversioned)
	scheme.AddUnversionedTypes(unversioned, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
	for kind, names := range selectable {
		utilruntime.Must(scheme.AddFieldLabelConversionFunc(core.WithKind(kind), func(label, value string) (string, string, error) {
			if _, found := names[label]; found {
				return label, value, nil
			}
			return runtime.DefaultMetaV1FieldSelectorConversion(label, value)
		}))
	}
	return scheme
}

// selectable is what kubectl selects Pods and Events by, besides name and namespace.
var selectable = map[string]map[string]func(runtime.Object) string{
	"Pod": {
		"spec.nodeName": func(o runtime.Object) string { return o.(*corev1.Pod).Spec.NodeName },
		"status.phase":  func(o runtime.Object) string { return string(o.(*corev1.Pod).Status.Phase) },
	},
	"Event": {
		"involvedObject.kind":      func(o runtime.Object) string { return o.(*corev1.Event).InvolvedObject.Kind },
		"involvedObject.name":      func(o runtime.Object) string { return o.(*corev1.Event).InvolvedObject.Name },
		"involvedObject.namespace": func(o runtime.Object) string { return o.(*corev1.Event).InvolvedObject.Namespace },
		"involvedObject.uid":       func(o runtime.Object) string { return string(o.(*corev1.Event).InvolvedObject.UID) },
	},
}

func versions() []schema.GroupVersion {
	return []schema.GroupVersion{core, apps, batch, leases, rbac, network, sched, admit}
}

func install(api *server.GenericAPIServer, stored generic.RESTOptionsGetter) error {
	groups := map[string]*server.APIGroupInfo{}
	for _, r := range resources {
		group, found := groups[r.group.Group]
		if !found {
			info := server.NewDefaultAPIGroupInfo(r.group.Group, scheme, runtime.NewParameterCodec(scheme), codecs)
			info.VersionedResourcesStorageMap[r.group.Version] = map[string]rest.Storage{}
			group = &info
			groups[r.group.Group] = group
		}
		if err := r.install(group.VersionedResourcesStorageMap[r.group.Version], stored); err != nil {
			return err
		}
	}
	if err := api.InstallLegacyAPIGroup(server.DefaultLegacyAPIPrefix, groups[""]); err != nil {
		return err
	}
	delete(groups, "")
	for _, group := range groups {
		if err := api.InstallAPIGroup(group); err != nil {
			return err
		}
	}
	return nil
}

func (r resource) install(storage map[string]rest.Storage, stored generic.RESTOptionsGetter) error {
	plural := schema.GroupResource{Group: r.group.Group, Resource: r.plural}
	main := strategy{scheme, names.SimpleNameGenerator, r, "Spec", "Status"}
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return fresh(r.object) },
		NewListFunc:               func() runtime.Object { return fresh(r.list) },
		DefaultQualifiedResource:  plural,
		SingularQualifiedResource: schema.GroupResource{Group: r.group.Group, Resource: r.single},
		CreateStrategy:            main,
		UpdateStrategy:            main,
		DeleteStrategy:            main,
		ResetFieldsStrategy:       main,
		TableConvertor:            rest.NewDefaultTableConvertor(plural),
	}
	if err := store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: stored, AttrFunc: r.attributes}); err != nil {
		return err
	}
	storage[r.plural] = named{store, r.shortNames}
	if part(r.object, "Status").IsValid() {
		ofStatus := *store
		kept := strategy{scheme, names.SimpleNameGenerator, r, "Status", "Spec"}
		ofStatus.UpdateStrategy, ofStatus.ResetFieldsStrategy = kept, kept
		storage[r.plural+"/status"] = statusOnly{&ofStatus}
	}
	return nil
}

func (r resource) attributes(object runtime.Object) (labels.Set, fields.Set, error) {
	metadata, err := meta.Accessor(object)
	if err != nil {
		return nil, nil, err
	}
	set := fields.Set{"metadata.name": metadata.GetName()}
	if r.isNamespaced {
		set["metadata.namespace"] = metadata.GetNamespace()
	}
	for name, value := range selectable[reflect.TypeOf(r.object).Elem().Name()] {
		set[name] = value(object)
	}
	return metadata.GetLabels(), set, nil
}

// named adds the short names that kubectl asks for.
type named struct {
	*genericregistry.Store
	names []string
}

func (n named) ShortNames() []string { return n.names }

// statusOnly is the subresource status: it can be read and changed, and nothing else.
type statusOnly struct{ store *genericregistry.Store }

func (s statusOnly) New() runtime.Object { return s.store.New() }
func (s statusOnly) Destroy()            {}
func (s statusOnly) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return s.store.Get(ctx, name, options)
}
func (s statusOnly) Update(ctx context.Context, name string, object rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return s.store.Update(ctx, name, object, create, update, false, options)
}
func (s statusOnly) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.store.GetResetFields()
}
func (s statusOnly) ConvertToTable(ctx context.Context, object runtime.Object, options runtime.Object) (*metav1.Table, error) {
	return s.store.ConvertToTable(ctx, object, options)
}

// strategy lets a writer change one part of an object and keeps the other as it is stored: Spec and Status, or the other way round.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	resource
	writes, keeps string
}

func (s strategy) NamespaceScoped() bool { return s.isNamespaced }

// Kubernetes has these two of Leases the other way round, so that nobody takes one over by accident.
func (s strategy) AllowCreateOnUpdate() bool                               { return s.plural == "leases" }
func (s strategy) AllowUnconditionalUpdate() bool                          { return s.plural != "leases" }
func (strategy) Canonicalize(runtime.Object)                               {}
func (strategy) Validate(context.Context, runtime.Object) field.ErrorList  { return nil }
func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }
func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}
func (strategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}

func (s strategy) PrepareForCreate(_ context.Context, object runtime.Object) {
	if kept := part(object, s.keeps); kept.IsValid() {
		kept.SetZero()
		generation(object, 1)
	}
}

func (s strategy) PrepareForUpdate(_ context.Context, object, old runtime.Object) {
	kept, written := part(object, s.keeps), part(object, s.writes)
	if !kept.IsValid() {
		return
	}
	kept.Set(part(old, s.keeps))
	before, err := meta.Accessor(old)
	utilruntime.Must(err)
	now := before.GetGeneration()
	if s.writes == "Spec" && !equality.Semantic.DeepEqual(written.Interface(), part(old, s.writes).Interface()) {
		now++
	}
	generation(object, now)
}

func (s strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if !part(s.object, s.keeps).IsValid() {
		return nil
	}
	path := map[string]string{"Spec": "spec", "Status": "status"}[s.keeps]
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(s.group.String()): fieldpath.NewSet(fieldpath.MakePathOrDie(path)),
	}
}

func part(object runtime.Object, name string) reflect.Value {
	return reflect.ValueOf(object).Elem().FieldByName(name)
}

func generation(object runtime.Object, value int64) {
	metadata, err := meta.Accessor(object)
	utilruntime.Must(err)
	metadata.SetGeneration(value)
}

func fresh(example runtime.Object) runtime.Object {
	return reflect.New(reflect.TypeOf(example).Elem()).Interface().(runtime.Object)
}
