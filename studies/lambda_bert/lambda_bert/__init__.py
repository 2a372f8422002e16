"""BERT with lambda layers in place of self-attention, after LambdaNetworks (arXiv:2102.08602).

Read the modules in this order:

    configuration_lambdabert   sizes and switches
    modeling_lambdabert        the lambda layer, the encoder, and its heads

Importing the package makes the model known to transformers' auto classes.
"""

from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForPreTraining

from lambda_bert.configuration_lambdabert import LambdaBertConfig
from lambda_bert.modeling_lambdabert import LambdaBertForMaskedLM, LambdaBertForPreTraining, LambdaBertModel

AutoConfig.register(LambdaBertConfig.model_type, LambdaBertConfig, exist_ok=True)
AutoModel.register(LambdaBertConfig, LambdaBertModel, exist_ok=True)
AutoModelForMaskedLM.register(LambdaBertConfig, LambdaBertForMaskedLM, exist_ok=True)
AutoModelForPreTraining.register(LambdaBertConfig, LambdaBertForPreTraining, exist_ok=True)

__all__ = ["LambdaBertConfig", "LambdaBertForMaskedLM", "LambdaBertForPreTraining", "LambdaBertModel"]
