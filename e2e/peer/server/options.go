package main

import (
	"fmt"
	"net"

	"github.com/spf13/pflag"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/util/compatibility"

	"k8s.io/apiserver/pkg/endpoints/openapi"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// peerOptions are RecommendedOptions without admission, which would need informers on half the cluster, and without priority
// and fairness: metrics-server runs so, and it is the faster of the two.
type peerOptions struct {
	recommended *options.RecommendedOptions
}

func newOptions() *peerOptions {
	recommended := options.NewRecommendedOptions("/registry/peer", codecs.LegacyCodec(metricsv1beta1.SchemeGroupVersion))
	recommended.Admission = nil
	recommended.Features.EnablePriorityAndFairness = false
	// The tests' etcd serves plain HTTP on loopback.
	recommended.Etcd.StorageConfig.EncodeVersioner = metricsv1beta1.SchemeGroupVersion
	return &peerOptions{recommended: recommended}
}

func (o *peerOptions) addFlags(flags *pflag.FlagSet) {
	o.recommended.Etcd.AddFlags(flags)
	o.recommended.SecureServing.AddFlags(flags)
	o.recommended.Authentication.AddFlags(flags)
	o.recommended.Authorization.AddFlags(flags)
	o.recommended.Audit.AddFlags(flags)
	o.recommended.Features.AddFlags(flags)
	o.recommended.CoreAPI.AddFlags(flags)
}

func (o *peerOptions) server() (*genericapiserver.GenericAPIServer, error) {
	r := o.recommended
	if err := r.SecureServing.MaybeDefaultWithSelfSignedCerts("localhost", nil, []net.IP{net.IPv4(127, 0, 0, 1)}); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	config := genericapiserver.NewRecommendedConfig(codecs)
	config.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	namer := openapi.NewDefinitionNamer(scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	config.OpenAPIConfig.Info.Title = "peer"
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	config.OpenAPIV3Config.Info.Title = "peer"
	for _, apply := range []func() error{
		func() error { return r.Etcd.ApplyTo(&config.Config) },
		func() error { return r.SecureServing.ApplyTo(&config.SecureServing, &config.LoopbackClientConfig) },
		func() error {
			return r.Authentication.ApplyTo(&config.Config.Authentication, config.SecureServing, config.OpenAPIConfig)
		},
		func() error { return r.Authorization.ApplyTo(&config.Config.Authorization) },
		func() error { return r.Audit.ApplyTo(&config.Config) },
		func() error { return r.CoreAPI.ApplyTo(config) },
		func() error { return r.Features.ApplyTo(&config.Config, nil, config.SharedInformerFactory) },
	} {
		if err := apply(); err != nil {
			return nil, err
		}
	}
	server, err := config.Complete().New("peer", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, err
	}
	group, err := apiGroup(config.RESTOptionsGetter)
	if err != nil {
		return nil, err
	}
	return server, server.InstallAPIGroup(group)
}
