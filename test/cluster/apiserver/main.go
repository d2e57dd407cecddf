// A Kubernetes API server for the tests, built by scripts/install-fixtures from Kubernetes' own server library (k8s.io/apiserver) as Debian
// packages it: paths, watches, optimistic locking, server-side apply with the types' own schemas, strict decoding, custom resources, RBAC
// objects and audit are that library's. Not in it, because it is in no library: defaults and validation of single fields, and controllers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	apiextensionsoptions "k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"

	"registry-trust/apiserver/openapi"
)

type settings struct{ etcd, certFile, keyFile, tokens, auditLog, auditPolicy string }

func main() {
	var s settings
	flag.StringVar(&s.etcd, "etcd", "", "URL of an etcd")
	flag.StringVar(&s.certFile, "cert", "", "certificate of this server")
	flag.StringVar(&s.keyFile, "key", "", "its key")
	flag.StringVar(&s.tokens, "tokens", "", "who calls: lines of token,user,uid,\"group,group\"")
	flag.StringVar(&s.auditLog, "audit-log", "", "where every request is recorded")
	flag.StringVar(&s.auditPolicy, "audit-policy", "", "what of it")
	flag.Parse()
	if err := run(server.SetupSignalContext(), s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	config, etcd, err := configure(s)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config.LoopbackClientConfig)
	if err != nil {
		return err
	}
	if err := protect(config, s, client); err != nil {
		return err
	}
	custom, err := customResources(*config, etcd)
	if err != nil {
		return err
	}
	api, err := config.Complete().New("registry-trust-test", custom.GenericAPIServer)
	if err != nil {
		return err
	}
	if err := install(api, config.RESTOptionsGetter); err != nil {
		return err
	}
	api.AddPostStartHookOrDie("system-namespaces", func(hook server.PostStartHookContext) error {
		return makeNamespaces(hook, client)
	})
	return api.PrepareRun().RunWithContext(ctx)
}

func configure(s settings) (*server.RecommendedConfig, *options.EtcdOptions, error) {
	config := server.NewRecommendedConfig(codecs)
	// one for both servers: clients are to find custom resources beside the others
	config.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	if err := options.NewServerRunOptions().ApplyTo(&config.Config); err != nil {
		return nil, nil, err
	}
	namer := openapinamer.NewDefinitionNamer(scheme, apiextensions.Scheme)
	config.OpenAPIConfig = server.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, namer)
	config.OpenAPIV3Config = server.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, namer)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	serving := options.NewSecureServingOptions()
	serving.Listener = listener
	serving.BindPort = listener.Addr().(*net.TCPAddr).Port
	serving.ServerCert.CertKey = options.CertKey{CertFile: s.certFile, KeyFile: s.keyFile}
	if err := serving.WithLoopback().ApplyToConfig(&config.Config); err != nil {
		return nil, nil, err
	}
	// read by whoever started this process
	fmt.Printf("https://%s\n", listener.Addr())

	etcd := options.NewEtcdOptions(storagebackend.NewDefaultConfig("/registry", codecs.LegacyCodec(versions()...)))
	etcd.StorageConfig.Transport.ServerList = []string{s.etcd}
	if err := etcd.ApplyTo(&config.Config); err != nil {
		return nil, nil, err
	}
	if s.auditLog != "" {
		audit := options.NewAuditOptions()
		audit.PolicyFile = s.auditPolicy
		audit.LogOptions.Path = s.auditLog
		if err := audit.ApplyTo(&config.Config); err != nil {
			return nil, nil, err
		}
	}
	return config, etcd, nil
}

// protect says who a caller is, what it may do, and that a namespace must be there before anything in it.
func protect(config *server.RecommendedConfig, s settings, client kubernetes.Interface) error {
	tokens, err := tokenfile.NewCSV(s.tokens)
	if err != nil {
		return err
	}
	config.Authentication.Authenticator = group.NewAuthenticatedGroupAdder(bearertoken.New(tokens))
	config.Authorization.Authorizer = union.New(
		authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup),
		roleAuthorizer{client.RbacV1()},
	)
	config.SharedInformerFactory = informers.NewSharedInformerFactory(client, 0)
	namespaces, err := lifecycle.NewLifecycle(sets.New(metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic))
	if err != nil {
		return err
	}
	namespaces.SetExternalKubeInformerFactory(config.SharedInformerFactory)
	namespaces.SetExternalKubeClientSet(client)
	policies, err := admissionPolicies(config, client)
	if err != nil {
		return err
	}
	config.AdmissionControl = admission.NewChainHandler(namespaces, policies)
	return errors.Join(namespaces.ValidateInitialization(), policies.ValidateInitialization())
}

// admissionPolicies enforces the ValidatingAdmissionPolicies that are stored here.
func admissionPolicies(config *server.RecommendedConfig, client kubernetes.Interface) (*validating.Plugin, error) {
	plugin, err := validating.NewPlugin(nil)
	if err != nil {
		return nil, err
	}
	anything, err := dynamic.NewForConfig(config.LoopbackClientConfig)
	if err != nil {
		return nil, err
	}
	plugin.SetExternalKubeInformerFactory(config.SharedInformerFactory)
	plugin.SetExternalKubeClientSet(client)
	plugin.SetDynamicClient(anything)
	plugin.SetRESTMapper(restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery())))
	plugin.SetAuthorizer(config.Authorization.Authorizer)
	plugin.SetDrainedNotification(config.DrainedNotify())
	return plugin, nil
}

// customResources is the server of CustomResourceDefinitions and their objects, which gets what the other one does not serve.
func customResources(config server.RecommendedConfig, etcd *options.EtcdOptions) (*apiextensions.CustomResourceDefinitions, error) {
	config.PostStartHooks = map[string]server.PostStartHookConfigEntry{}
	config.RESTOptionsGetter = nil
	stored := *etcd
	stored.StorageConfig.Codec = apiextensions.Codecs.LegacyCodec(apiextensionsv1.SchemeGroupVersion)
	stored.SkipHealthEndpoints = true
	if err := stored.ApplyTo(&config.Config); err != nil {
		return nil, err
	}
	enablement := options.NewAPIEnablementOptions()
	if err := enablement.ApplyTo(&config.Config, apiextensions.DefaultAPIResourceConfigSource(), apiextensions.Scheme); err != nil {
		return nil, err
	}
	custom := apiextensions.Config{
		GenericConfig: &config,
		ExtraConfig: apiextensions.ExtraConfig{
			CRDRESTOptionsGetter: apiextensionsoptions.NewCRDRESTOptionsGetter(*etcd, config.ResourceTransformers, config.StorageObjectCountTracker),
			MasterCount:          1,
		},
	}
	return custom.Complete().New(server.NewEmptyDelegate())
}

func makeNamespaces(ctx context.Context, client kubernetes.Interface) error {
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		_, err := client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}
